//! An agent that looks things up, takes notes, and publishes what it found once you say yes.
//!
//! ```sh
//! cargo run --example research_agent
//! ```
//!
//! Needs nothing: the model is the simulated one, and this program is also the web site that is searched and published on, and the MCP server
//! that keeps the notes. The agent has four kinds of things to work with:
//!
//! - `search`, a built-in tool that asks the endpoint of `[tools.search]`;
//! - `notes__write`, a tool of an MCP server that Callboard starts (`[mcp.servers.notes]`);
//! - `publish`, an HTTP tool that the agent declares, with a secret that it never sees;
//! - you: `publish` requires an approval, and until you decide the run waits and costs nothing.
//!
//! The simulated model asks for the tools that it is told to ask for. With a real one, leave out `model_options`.

use std::io::{BufRead, Write, stdin, stdout};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use anyhow::{Context, bail};
use callboard::config::{Sources, load, this_machine};
use clap::{Parser, Subcommand};
use serde_json::{Value, json};

#[derive(Parser)]
struct Arguments {
    /// Say yes to everything
    #[arg(long)]
    yes: bool,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Subcommand)]
enum Part {
    /// Be the MCP server that keeps notes; Callboard starts it
    Notes,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(Part::Notes) = arguments.part {
        return keep_notes();
    }
    let folder = tempfile::tempdir()?;
    let site = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = site.local_addr()?;
    let config = write_config(folder.path(), address)?;
    let sources = Sources {
        file: Some(config),
        environment: Vec::new(),
    };
    let loaded = load(sources)?;
    let callboard = Callboard {
        http: reqwest::Client::new(),
        url: format!("http://{}", loaded.config.server.bind),
    };
    let published: Published = Arc::default();
    // A server in this process; usually it is one of its own, and you only have its address.
    std::thread::spawn(move || callboard::app::serve(&loaded.config, this_machine()));
    let told = actix_web::rt::System::new().block_on(async {
        let server = be_web_site(site, published.clone())?;
        actix_web::rt::spawn(server);
        research(&callboard, address, arguments.yes).await
    });
    for request in published.lock().expect("nothing panics with it").iter() {
        println!("\nThe web site was sent: {request}");
    }
    told
}

/// What an operator writes down: where to search, whom to start, what secrets there are and who may get them.
fn write_config(folder: &Path, site: SocketAddr) -> anyhow::Result<std::path::PathBuf> {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let program = std::env::current_exe()?;
    std::fs::write(folder.join("press_key"), "not-for-the-model")?;
    let config = format!(
        r#"
[server]
bind = "{server}"
[store]
path = {store:?}
[log]
level = "warn"
[tools]
enabled = ["search"]
[tools.search]
url = "http://{site}/search?q={{{{query}}}}"
results = "/results"
[mcp.servers.notes]
command = {program:?}
args = ["notes"]
[secrets.PRESS_KEY]
file = {key:?}
hosts = ["http://{site}"]
# HTTP tools reach the public internet and nothing else, but for what is added here.
[outbound]
allow = ["{address}/32:{port}"]
"#,
        store = folder.join("callboard.db"),
        key = folder.join("press_key"),
        address = site.ip(),
        port = site.port(),
    );
    let file = folder.join("config.toml");
    std::fs::write(&file, config)?;
    Ok(file)
}

/// Makes the agent, posts a run and follows it to its end.
async fn research(callboard: &Callboard, site: SocketAddr, say_yes: bool) -> anyhow::Result<()> {
    callboard.until_ready().await?;
    let publish = json!({
        "type": "http", "name": "publish", "description": "Publishes a text for everybody to read.",
        "parameters": {
            "type": "object", "required": ["title", "text"],
            "properties": {"title": {"type": "string"}, "text": {"type": "string"}}
        },
        "url": format!("http://{site}/articles"),
        "headers": {"Authorization": "Bearer {{secret:PRESS_KEY}}"},
        "response_template": "published as number {{/number}}",
        "requires_approval": true
    });
    let agent = callboard
        .post(
            "/api/v1/agents",
            &json!({
                "name": "researcher",
                "instructions": "Find out about {{subject}}. Take notes. Publish a summary.",
                "variables": {"subject": {"description": "what to find out about"}},
                "tools": ["search", {"type": "mcp", "server": "notes"}, publish],
                "limits": {"max_steps": 5}
            }),
        )
        .await?;
    println!("agent  {}, version {}", text_of(&agent["name"]), agent["version"]);
    let run = callboard
        .post(
            "/api/v1/runs",
            &json!({
                "agent": "researcher",
                "variables": {"subject": "callboards"},
                "input": "What is a callboard?",
                "model_options": {"simulate": {
                    "tool_calls": [
                        {"name": "search", "arguments": {"queries": ["callboard", "theatre notice board"]}},
                        {"name": "notes__write", "arguments": {"note": "Actors read it before they go on."}},
                        {"name": "publish", "arguments": {"title": "Callboards", "text": "Where actors look first."}}
                    ],
                    "text": "A callboard is where actors look before they go on. I have published a summary."
                }}
            }),
        )
        .await?;
    let id = run["id"].as_str().context("a run has an id")?.to_owned();
    println!("run    {id}");
    callboard.follow(&id, say_yes).await
}

/// A Callboard server.
struct Callboard {
    http: reqwest::Client,
    url: String,
}

impl Callboard {
    async fn until_ready(&self) -> anyhow::Result<()> {
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(50));
        for _ in 0..400 {
            ticks.tick().await;
            let ready = self.http.get(format!("{}/readyz", self.url)).send().await;
            if ready.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
        }
        bail!("the server did not start")
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let answer = self.http.post(format!("{}{path}", self.url)).json(body).send().await?;
        let status = answer.status();
        let told: Value = answer.json().await?;
        if !status.is_success() {
            bail!("{}", text_of(&told["error"]["message"]));
        }
        Ok(told)
    }

    /// Reads the run's events to its end, and decides when it asks.
    async fn follow(&self, run: &str, say_yes: bool) -> anyhow::Result<()> {
        let path = format!("{}/api/v1/runs/{run}/events", self.url);
        let mut stream = self.http.get(path).header("accept", "text/event-stream").send().await?;
        let mut received = Vec::new();
        while let Some(bytes) = stream.chunk().await? {
            received.extend_from_slice(&bytes);
            while let Some(end) = received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = received.drain(..=end).collect();
                let Some(data) = line.strip_prefix(b"data: ") else {
                    continue;
                };
                let event: Value = serde_json::from_slice(data)?;
                match event["type"].as_str().unwrap_or_default() {
                    "item.completed" => show_item(&event["item"]),
                    "run.waiting" => self.decide(run, &event["calls"], say_yes).await?,
                    "tools.unavailable" => println!("missing {}: {}", event["source"], text_of(&event["reason"])),
                    "run.failed" => bail!("the run failed: {}", text_of(&event["error"]["message"])),
                    "run.completed" => println!("done   {} tokens", event["usage"]["output_tokens"]),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Asks whoever sits at the terminal about each call that waits for a yes.
    async fn decide(&self, run: &str, calls: &Value, say_yes: bool) -> anyhow::Result<()> {
        for call in calls.as_array().into_iter().flatten() {
            println!("asks   {} {}", text_of(&call["name"]), text_of(&call["arguments"]));
            print!("       Is that all right? [Y/n] ");
            stdout().flush()?;
            let mut answer = String::new();
            if say_yes {
                println!("yes");
            } else {
                stdin().lock().read_line(&mut answer)?;
            }
            let approve = !answer.trim().to_lowercase().starts_with('n');
            let mut decision = json!({"call_id": call["call_id"], "approve": approve});
            if !approve {
                decision["reason"] = json!("The editor says no.");
            }
            self.post(
                &format!("/api/v1/runs/{run}/approvals"),
                &json!({"approvals": [decision]}),
            )
            .await?;
        }
        Ok(())
    }
}

fn show_item(item: &Value) {
    match item["type"].as_str().unwrap_or_default() {
        "tool_call" => println!("calls  {} {}", text_of(&item["name"]), text_of(&item["arguments"])),
        "tool_result" => println!("gets   {}", text_of(&item["output"])),
        "message" => println!("says   {}", text_of(&item["content"][0]["text"])),
        _ => {}
    }
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What was sent to be published, with the headers that say who and which.
type Published = Arc<Mutex<Vec<String>>>;

/// A web site that can be searched and takes articles.
fn be_web_site(listener: TcpListener, published: Published) -> std::io::Result<actix_web::dev::Server> {
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::from(published.clone()))
            .route("/search", web::get().to(search))
            .route("/articles", web::post().to(publish))
    });
    Ok(server.workers(1).disable_signals().listen(listener)?.run())
}

async fn search(query: web::Query<std::collections::BTreeMap<String, String>>) -> HttpResponse {
    let question = query.get("q").cloned().unwrap_or_default();
    let found = json!({"title": format!("About: {question}"), "url": "https://example.com/a", "snippet": "A board at the stage door."});
    HttpResponse::Ok().json(json!({"results": [found]}))
}

async fn publish(request: HttpRequest, body: String, published: web::Data<Mutex<Vec<String>>>) -> HttpResponse {
    let header = |name: &str| {
        request
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let mut published = published.lock().expect("nothing panics with it");
    published.push(format!(
        "{body}\n  Authorization: {}\n  Idempotency-Key: {}",
        header("authorization"),
        header("idempotency-key")
    ));
    HttpResponse::Ok().json(json!({"number": published.len()}))
}

/// An MCP server: JSON-RPC, a message a line, on standard input and output.
fn keep_notes() -> anyhow::Result<()> {
    let mut notes: Vec<String> = Vec::new();
    for line in stdin().lock().lines() {
        let message: Value = serde_json::from_str(&line?)?;
        let Some(id) = message.get("id") else {
            continue;
        };
        let answer = match message["method"].as_str().unwrap_or_default() {
            "initialize" => json!({"result": {
                "protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "notes", "version": "1"}
            }}),
            "tools/list" => json!({"result": {"tools": [{
                "name": "write", "description": "Keeps a note.",
                "inputSchema": {"type": "object", "properties": {"note": {"type": "string"}}, "required": ["note"]}
            }]}}),
            "tools/call" => {
                notes.push(text_of(&message["params"]["arguments"]["note"]).to_owned());
                json!({"result": {"content": [{"type": "text", "text": format!("note {} is kept", notes.len())}]}})
            }
            other => json!({"error": {"code": -32601, "message": format!("there is no method {other}")}}),
        };
        let mut reply = json!({"jsonrpc": "2.0", "id": id});
        reply
            .as_object_mut()
            .context("an object")?
            .extend(answer.as_object().context("an object")?.clone());
        println!("{reply}");
    }
    Ok(())
}
