//! The `callboard` binary.

use callboard::config::{Sources, load, this_machine};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    let loaded = load(Sources::of_this_process(None))?;
    if std::env::args().nth(1).as_deref() == Some("simulate-llm") {
        let options = callboard::llm::simulate_server::SimulateServerOptions {
            bind: "127.0.0.1:8701".parse()?,
            workers: 1,
            defaults: Default::default(),
        };
        let (server, address) =
            actix_rt::System::new().block_on(async { callboard::llm::simulate_server::start(options) })?;
        println!("{address}");
        return Ok(actix_rt::System::new().block_on(server)?);
    }
    callboard::app::serve(&loaded.config, this_machine())
}
