//! `[mcp]`: what is right and what is not.

use std::time::Duration;

use callboard_actors::ports::RetryClass;

use super::tests::{load_texts, mistakes};
use super::*;

#[test]
fn mcp_servers_are_in_a_process_or_elsewhere_and_no_secret_is_repeated() {
    let file = r#"
[mcp]
setup_timeout = "4s"
[mcp.servers.files]
command = "npx"
args = ["-y", "server"]
env = { LOG_LEVEL = "info" }
env_from = "GITHUB_TOKEN"
retry = "idempotent"
call_timeout = "5s"
idle_timeout = "0"
[mcp.servers.tickets]
url = "https://mcp.example.com/mcp?project=7"
headers = { Authorization = "Bearer {{secret:TICKETS}}" }
accounts = ["acme"]
[secrets.TICKETS]
env = "TICKETS"
hosts = ["mcp.example.com"]
"#;
    let loaded = load_texts(file, &[]).expect("it is right");
    let mcp = &loaded.config.mcp;
    let files = &mcp.servers["files"];
    assert_eq!(files.settings.setup_timeout, Duration::from_secs(4));
    assert_eq!(files.settings.call_timeout, Duration::from_secs(5));
    assert_eq!(files.settings.idle_timeout, None);
    assert_eq!(files.retry, RetryClass::Idempotent);
    let tickets = &mcp.servers["tickets"];
    assert_eq!((tickets.settings, tickets.retry), (mcp.usual, RetryClass::Unsafe));
    assert!(
        matches!(&tickets.place, McpPlace::Address { url, .. } if url.as_str() == "https://mcp.example.com/mcp?project=7")
    );

    let wrong = r#"
[mcp.servers."a b"]
command = "x"
[mcp.servers.none]
retry = "unsafe"
[mcp.servers.both]
command = "x"
url = "https://example.com"
[mcp.servers.mixed]
url = "https://example.com/"
args = ["x"]
headers = { A = "{{secret:NONE}}", B = "{{city}}", Host = "x" }
[mcp.servers.elsewhere]
url = "https://example.com/"
headers = { A = "{{secret:OTHER}}" }
call_timeout = "0"
[mcp.servers.leaky]
command = "x"
env_from = ["ghp_16C7e42F292c6912E7710c838347Ae178B4a"]
[mcp.servers.wrong_url]
url = "https://me:hunter2@example.com/"
[mcp.servers.wrong_part]
url = "https://example.com/?a=b#part"
[secrets.OTHER]
env = "OTHER"
hosts = ["other.example"]
"#;
    let told = mistakes(wrong, &[]).join("\n");
    for part in [
        "mcp.servers.\"a b\" @ 3: an MCP server's name is",
        "mcp.servers.none.command @ 5: is missing",
        "mcp.servers.both.url @ 8: a server has either command or url",
        "mcp.servers.mixed.args @ 11: has a meaning with command only",
        "mcp.servers.mixed.headers @ 12: Host: this header field is set by the server",
        "mcp.servers.elsewhere.headers @ 15: A: secrets.OTHER.hosts does not allow this url",
        "mcp.servers.elsewhere.call_timeout @ 16: must be from",
        "mcp.servers.leaky.env_from @ 19: must be names of environment variables",
        "mcp.servers.wrong_url.url @ 21: must not have a user name or a password",
        "mcp.servers.wrong_part.url @ 23: must not have a '#' part",
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }
    assert!(!told.contains("ghp_") && !told.contains("hunter2"), "{told}");
}

#[test]
fn a_server_that_wants_access_tokens_says_where_they_are_to_be_had() {
    let file = |oauth: &str, server: &str| {
        format!(
            "[mcp.servers.crm]\nurl = \"https://mcp.example.com/mcp\"\n{server}\n[mcp.servers.crm.oauth]\n{oauth}\n\
             [secrets.CRM]\nenv = \"CRM\"\nhosts = [\"auth.example.com\"]\n"
        )
    };
    let right = "token_url = \"https://auth.example.com/token?p=sign-in\"\nclient_id = \"callboard\"\nclient_secret = \"CRM\"\n\
                 authentication = \"client_secret_post\"\nscopes = \"read\"\n";
    let loaded = load_texts(&file(right, ""), &[]).expect("it is right");
    let McpPlace::Address { oauth: Some(oauth), .. } = &loaded.config.mcp.servers["crm"].place else {
        panic!("no client");
    };
    assert_eq!(
        (oauth.resource.as_str(), oauth.scopes.as_slice()),
        ("https://mcp.example.com/mcp", &["read".to_owned()][..])
    );

    for (oauth, server, key) in [
        ("", "", "oauth.token_url"),
        ("", "", "oauth.client_id"),
        ("", "", "oauth.client_secret"),
        ("client_secret = \"hunter2\"", "", "oauth.client_secret"),
        (
            "token_url = \"https://other.example/token\"\nclient_secret = \"CRM\"",
            "",
            "oauth.client_secret",
        ),
        ("scopes = [\"a b\"]", "", "oauth.scopes"),
        ("resource = \"crm\"", "", "oauth.resource"),
        ("resource = \"https://crm.example/#part\"", "", "oauth.resource"),
        (right, "headers = { authorization = \"x\" }", "oauth.token_url"),
    ] {
        let told = mistakes(&file(oauth, server), &[]).join("\n");
        assert!(told.contains(&format!("mcp.servers.crm.{key} @")), "{key}: {told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
}
