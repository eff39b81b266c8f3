//! The `callboard` binary: reads the command line and hands on.

use std::process::ExitCode;
use std::sync::Arc;

use callboard::cli::{
    self, BudgetsCommand, Cli, ClusterArguments, KeysCommand, MigrateStoreArguments, ModelsTestArguments, Task,
    UsageArguments,
};
use callboard::config::{Config, this_machine};
use callboard::llm::simulate_server::{self, SimulateServerOptions};
use callboard_actors::ports::Store;
use callboard_actors::time::Timestamp;
use clap::Parser;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if cli::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let told = cli::error_chain(&error);
            if callboard::telemetry::writes_json() {
                tracing::error!(error = told, "the server has ended with an error");
            } else {
                eprintln!("callboard: {told}");
            }
            ExitCode::from(cli::exit_code(&error))
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    match cli::run(cli, &mut std::io::stdout().lock())? {
        Task::Nothing => Ok(()),
        Task::Serve(loaded) => callboard::app::serve(&loaded.config, this_machine()),
        Task::Keys(config, command) => work_on_keys(&config, command),
        Task::Cluster(config, arguments) => show_cluster(&config, &arguments),
        Task::TestModels(config, arguments) => test_models(&config, &arguments),
        Task::Budgets(config, command) => work_on_budgets(&config, command),
        Task::Usage(config, arguments) => show_usage(&config, arguments),
        Task::MigrateStore(config, arguments) => migrate_store(&config, arguments),
        Task::ParseDocument => Ok(callboard::tools::parse_file::worker::run()?),
        Task::SimulateLlm(options) => simulate_llm(*options),
    }
}

/// The runtime of a command that asks the store.
fn small_runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
}

fn show_cluster(config: &Config, arguments: &ClusterArguments) -> anyhow::Result<()> {
    let overview = small_runtime()?.block_on(callboard::app::fleet_overview(config))?;
    Ok(cli::cluster::run(arguments, overview.as_ref(), &mut std::io::stdout())?)
}

fn test_models(config: &Config, arguments: &ModelsTestArguments) -> anyhow::Result<()> {
    arguments.check(config)?;
    let probes = callboard::app::key_probes(config, arguments.model.as_deref())?;
    let mut output = std::io::stdout();
    let testing = cli::models::test(arguments, probes, &mut output);
    Ok(small_runtime()?.block_on(testing)?)
}

fn work_on_budgets(config: &Config, command: BudgetsCommand) -> anyhow::Result<()> {
    small_runtime()?.block_on(callboard::app::with_existing_store(config, async |store, budgets| {
        let stores = (&*store, &*budgets);
        Ok(cli::budgets::run(command, config, stores, Timestamp::now(), &mut std::io::stdout()).await?)
    }))
}

fn show_usage(config: &Config, arguments: UsageArguments) -> anyhow::Result<()> {
    small_runtime()?.block_on(callboard::app::with_existing_store(config, async |_store, budgets| {
        Ok(cli::usage::run(arguments, &*budgets, Timestamp::now(), &mut std::io::stdout()).await?)
    }))
}

fn work_on_keys(config: &Config, command: KeysCommand) -> anyhow::Result<()> {
    let is_creating = matches!(command, KeysCommand::Create { .. });
    let work = async |store: Arc<dyn Store>, _budgets| {
        Ok(cli::keys::run(command, config, &*store, &mut std::io::stdout()).await?)
    };
    let runtime = small_runtime()?;
    if is_creating {
        return runtime.block_on(callboard::app::with_store(config, work));
    }
    runtime.block_on(callboard::app::with_existing_store(config, work))
}

fn migrate_store(config: &Config, arguments: MigrateStoreArguments) -> anyhow::Result<()> {
    let target_url = arguments.target_url(config)?;
    let migration = callboard::app::store_migration(config, arguments.from_path, target_url);
    let (mut output, mut log) = (std::io::stdout(), std::io::stderr());
    let run = cli::migrate_store::run(&migration, arguments.dry_run, &mut output, &mut log);
    Ok(small_runtime()?.block_on(run)?)
}

fn simulate_llm(options: SimulateServerOptions) -> anyhow::Result<()> {
    actix_rt::System::new().block_on(async {
        let (server, address) = simulate_server::start(options)?;
        println!("simulated models on http://{address}/v1");
        Ok(server.await?)
    })
}
