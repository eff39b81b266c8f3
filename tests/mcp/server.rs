//! An MCP server for the tests, on standard input and output, that can be as bad as one can be. How it behaves from the start is its first
//! argument; what its tools do is in their names. What happens to it, it writes into the file that `MCP_TEST_LOG` names, a word and a detail a
//! line.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs::OpenOptions;
use std::io::{BufRead, Write, stdin, stdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

static IS_CHANGED: AtomicBool = AtomicBool::new(false);

fn main() {
    let manner = std::env::args().nth(1).unwrap_or_default();
    log("started", &std::process::id().to_string());
    log("secret", &std::env::var("MCP_TEST_SECRET").unwrap_or_default());
    let inherited = std::env::var("CALLBOARD_TEST_PRIVATE").is_ok();
    log("inherited", if inherited { "yes" } else { "no" });
    match manner.as_str() {
        "silent" => loop {
            thread::park();
        },
        "dies_at_start" => {
            eprintln!("no licence");
            std::process::exit(3);
        }
        "stubborn" => {
            // Does not go when its input ends, nor when it is asked to.
            let set = nix::sys::signal::SigSet::from(nix::sys::signal::Signal::SIGTERM);
            set.thread_block().unwrap();
        }
        "flood" => flood(),
        "with_child" => {
            let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
            log("child", &child.id().to_string());
            thread::spawn(move || child.wait());
        }
        _ => {}
    }
    for line in stdin().lock().lines() {
        let message: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let manner = manner.clone();
        if manner == "flood" {
            say_unasked();
        }
        if message.get("id").is_none() {
            heard(&message);
            continue;
        }
        thread::spawn(move || answer(&manner, &message));
    }
    log("ended", "");
    if manner == "stubborn" {
        loop {
            thread::park();
        }
    }
}

fn log(word: &str, detail: &str) {
    if let Some(path) = std::env::var_os("MCP_TEST_LOG") {
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(format!("{word} {detail}\n").as_bytes()).unwrap();
    }
}

fn say(message: &Value) {
    say_line(message.to_string().as_bytes());
}

fn say_line(line: &[u8]) {
    let mut output = stdout().lock();
    // Nobody may listen any more.
    let _ = output
        .write_all(line)
        .and_then(|()| output.write_all(b"\n"))
        .and_then(|()| output.flush());
}

fn heard(notification: &Value) {
    if notification["method"] == "notifications/cancelled" {
        log("cancelled", &notification["params"]["requestId"].to_string());
    }
}

/// Talks without an end, beside its work.
fn flood() {
    thread::spawn(|| {
        loop {
            say_unasked();
        }
    });
}

fn say_unasked() {
    for _ in 0..100 {
        say_line(b"Debug: this is no message");
        say_line(b"{\"jsonrpc\": \"2.0\"");
        say(&json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "talk"}}));
        say(
            &json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 77, "progress": 1}}),
        );
        say(
            &json!({"jsonrpc": "2.0", "id": "mine", "method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 1}}),
        );
    }
}

fn answer(manner: &str, message: &Value) {
    let (id, params) = (&message["id"], &message["params"]);
    let result = match message["method"].as_str().unwrap() {
        "initialize" => json!({
            "protocolVersion": "2025-06-18",
            "capabilities": {"tools": {"listChanged": true}},
            "serverInfo": {"name": "test", "version": "1"}
        }),
        "tools/list" => list(manner, params),
        "tools/call" => match call(params) {
            Some(result) => result,
            None => return,
        },
        other => return say(&json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": other}})),
    };
    let id = if manner == "wrong_ids" && message["method"] != "initialize" {
        json!(id.as_i64().unwrap() + 1000)
    } else {
        id.clone()
    };
    say(&json!({"jsonrpc": "2.0", "id": id, "result": result}));
}

fn list(manner: &str, params: &Value) -> Value {
    log("listed", "");
    let tool =
        |name: &str| json!({"name": name, "description": format!("It {name}s."), "inputSchema": {"type": "object"}});
    let cursor = params["cursor"].as_str().unwrap_or("0");
    match manner {
        "endless_list" => {
            let page: u64 = cursor.parse().unwrap();
            let next = (page + 1).to_string();
            json!({"tools": [tool(&format!("tool_{page}"))], "nextCursor": next})
        }
        "circular_list" => json!({"tools": [tool("echo")], "nextCursor": "same"}),
        "liar" => json!({"tools": [
            tool("echo"),
            tool("echo"),
            {"name": "no_schema"},
            {"name": "array", "inputSchema": {"type": "array"}},
            {"name": "broken", "inputSchema": {"type": "object", "properties": {"x": {"type": "objekt"}}}},
            {"name": "outside", "inputSchema": {"type": "object", "$ref": "https://example.com/x"}},
            {"name": "name with spaces, and far too long for any provider that was ever heard of", "inputSchema": {"type": "object"}},
            7
        ]}),
        _ => {
            let mut names = vec![
                "echo", "fail", "slow", "hang", "die", "huge", "image", "ask", "change", "refuse",
            ];
            if IS_CHANGED.load(Ordering::SeqCst) {
                names.push("new");
            }
            let mut tools: Vec<Value> = names.into_iter().map(tool).collect();
            tools[0]["annotations"] = json!({"readOnlyHint": true});
            tools[4]["annotations"] = json!({"readOnlyHint": true});
            // On two pages.
            let rest = tools.split_off(5);
            if cursor == "0" {
                json!({"tools": tools, "nextCursor": "5"})
            } else {
                json!({"tools": rest})
            }
        }
    }
}

fn text(text: &str) -> Value {
    json!({"content": [{"type": "text", "text": text}]})
}

/// `None`: no answer.
fn call(params: &Value) -> Option<Value> {
    let name = params["name"].as_str().unwrap();
    let arguments = &params["arguments"];
    log(
        "called",
        &format!(
            "{name} {}",
            params["_meta"]["callboard/idempotencyKey"].as_str().unwrap_or("?")
        ),
    );
    Some(match name {
        "echo" | "new" => text(arguments["text"].as_str().unwrap_or("nothing")),
        "fail" => json!({"content": [{"type": "text", "text": "it went wrong"}], "isError": true}),
        "slow" => {
            // Says how far it is, ten times.
            let pause = Duration::from_millis(arguments["pause_ms"].as_u64().unwrap_or(20));
            for step in 1..=10 {
                let token = &params["_meta"]["progressToken"];
                let said =
                    json!({"progressToken": token, "progress": step, "total": 10, "message": format!("step {step}")});
                say(&json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": said}));
                thread::park_timeout(pause);
            }
            text("slow but done")
        }
        "hang" => return None,
        "die" => {
            log("died", "");
            std::process::exit(9);
        }
        "huge" => text(&"x".repeat(usize::try_from(arguments["bytes"].as_u64().unwrap()).unwrap())),
        "image" => json!({"content": [{"type": "image", "data": "AAAA", "mimeType": "image/png"}]}),
        "ask" => {
            for method in ["sampling/createMessage", "elicitation/create", "roots/list", "ping"] {
                say(
                    &json!({"jsonrpc": "2.0", "id": format!("my-{method}"), "method": method, "params": {"messages": [], "maxTokens": 1, "message": "?", "requestedSchema": {"type": "object", "properties": {}}}}),
                );
            }
            text("asked")
        }
        "change" => {
            IS_CHANGED.store(true, Ordering::SeqCst);
            say(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}));
            text("changed")
        }
        _ => return None,
    })
}
