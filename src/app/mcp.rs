//! The MCP servers of the configuration, with what their processes are to know.

use std::collections::BTreeMap;

use callboard_actors::ports::RetryClass;
use secrecy::SecretString;

use super::key_places::{OutsideErrors, OutsideProblem, read_key};
use super::settings::configured_endpoint_options;
use crate::config::{Config, KeyPlace, McpPlace, McpSettingsConfig};
use crate::tools::mcp::{McpBounds, McpOptions, McpServerOptions, McpServerSettings, ServerCommand, ServerPlace};

/// All that MCP servers need.
///
/// # Errors
/// Variables or files that a server is to have are not there.
pub(super) fn mcp_options(config: &Config) -> Result<McpOptions, OutsideErrors> {
    let mcp = &config.mcp;
    let mut problems = Vec::new();
    let servers = mcp.servers.iter().map(|(name, server)| McpServerOptions {
        name: name.clone(),
        place: place(name, &server.place, &mut problems),
        settings: settings(server.settings, server.retry, server.trust_annotations),
        in_every_run: server.in_every_run,
        accounts: server.accounts.clone(),
    });
    let servers = servers.collect();
    OutsideErrors::of(problems)?;
    Ok(McpOptions {
        servers,
        usual: settings(mcp.usual, RetryClass::Unsafe, false),
        bounds: McpBounds {
            max_message: mcp.max_message,
            max_tools: mcp.max_tools,
            max_description: mcp.max_description,
            max_schema: mcp.max_schema,
            longest_call: config.tools.timeout,
        },
        max_client_servers: mcp.max_client_servers,
        outbound: configured_endpoint_options(config),
    })
}

fn place(server: &str, place: &McpPlace, problems: &mut Vec<OutsideProblem>) -> ServerPlace {
    match place {
        McpPlace::Process {
            command,
            args,
            cwd,
            env,
            env_from,
            env_files,
        } => {
            let mut secret_environment: BTreeMap<String, SecretString> = BTreeMap::new();
            let own = env_from
                .iter()
                .map(|name| ("env_from", name, KeyPlace::Environment(name.clone())));
            let files = env_files
                .iter()
                .map(|(name, path)| ("env_files", name, KeyPlace::File(path.clone())));
            for (key, variable, place) in own.chain(files) {
                match read_key(&format!("mcp.servers.{server}.{key}"), &place) {
                    Ok(value) => drop(secret_environment.insert(variable.clone(), value)),
                    Err(problem) => problems.push(problem),
                }
            }
            ServerPlace::Process(ServerCommand {
                program: command.clone(),
                arguments: args.clone(),
                environment: env.clone(),
                secret_environment,
                directory: cwd.clone(),
            })
        }
        McpPlace::Address { url, headers, oauth } => ServerPlace::Address {
            url: url.clone(),
            headers: headers.clone(),
            oauth: oauth.clone(),
        },
    }
}

fn settings(config: McpSettingsConfig, retry: RetryClass, trust_annotations: bool) -> McpServerSettings {
    McpServerSettings {
        setup_timeout: config.setup_timeout,
        call_timeout: config.call_timeout,
        idle_timeout: config.idle_timeout,
        max_concurrent: config.max_concurrent,
        retry,
        trust_annotations,
    }
}
