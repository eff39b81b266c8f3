//! The layers together: what is right is in force and knows where it came from; what is wrong is all found.

use std::ffi::OsString;
use std::io::Write;
use std::time::Duration;

use callboard_actors::capacity::MachineSize;

use super::*;

fn environment(variables: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    let owned = |(name, value): &(&str, &str)| (OsString::from(name), OsString::from(value));
    variables.iter().map(owned).collect()
}

pub(super) fn load_texts(file: &str, variables: &[(&str, &str)]) -> Result<LoadedConfig, ConfigErrors> {
    let mut written = tempfile::Builder::new()
        .suffix(".toml")
        .tempfile()
        .expect("a temporary file");
    written.write_all(file.as_bytes()).expect("written");
    load(Sources {
        file: Some(written.path().to_owned()),
        environment: environment(variables),
    })
}

/// Each problem as `key @ line or variable: message`.
pub(super) fn mistakes(file: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let errors = load_texts(file, variables).expect_err("there are mistakes");
    let shown = |problem: &Problem| {
        let origin = match &problem.origin {
            Origin::Default => "default".to_owned(),
            Origin::File { line, .. } => line.map_or("file".to_owned(), |line| line.to_string()),
            Origin::Environment { variable } => variable.clone(),
        };
        format!(
            "{} @ {origin}: {}",
            problem.key.as_deref().unwrap_or("-"),
            problem.message
        )
    };
    errors.0.iter().map(shown).collect()
}

fn origin_of(loaded: &LoadedConfig, key: &str) -> Origin {
    let found = loaded.values.iter().find(|value| value.key == key);
    found.expect("the key is in force").origin.clone()
}

#[test]
fn the_compiled_in_file_is_right_and_says_what_was_agreed() {
    let loaded = load(Sources::default()).unwrap_or_else(|errors| panic!("{errors}"));
    let config = &loaded.config;
    assert_eq!(config.server.bind.to_string(), "127.0.0.1:8700");
    assert!(config.server.is_loopback());
    assert_eq!(config.queue.deadline, Some(Duration::from_secs(600)));
    assert_eq!(config.models["simulated"].targets[0].provider, "simulated");
    assert_eq!(config.providers["simulated"].service, ProviderService::Simulated);
    let concurrent: Vec<(&str, Option<u32>)> = config
        .tiers
        .iter()
        .map(|(name, tier)| (name.as_str(), tier.concurrent_runs))
        .collect();
    assert_eq!(
        concurrent,
        [
            ("free", Some(1)),
            ("local", None),
            ("plus", Some(3)),
            ("pro", Some(5)),
            ("ultra", Some(20))
        ]
    );
    assert!(config.tiers.contains_key(LOCAL_TIER));
    let big = MachineSize {
        cpus: 32,
        memory_bytes: 128_000_000_000,
    };
    assert_eq!(config.capacity_parameters().concurrent_runs(big).runs, 320);
    assert!(loaded.values.iter().all(|value| value.origin == Origin::Default));
    assert_eq!(loaded.values[0].key, "server.bind");
}

#[test]
fn what_is_read_later_wins_and_knows_where_it_came_from() {
    let file = "[server]\nworkers = 3\nkeep_alive = \"9s\"\n[queue]\ndeadline = 0\n";
    let variables = [
        ("CALLBOARD__SERVER__WORKERS", "5"),
        ("CALLBOARD__TOOLS__ENABLED", "now, wait"),
        ("CALLBOARD__LOG__LEVEL", ""),
        ("MAX_CONCURRENT_AGENT_RUNS", "64"),
        ("DATABASE_MAX_CONNECTIONS", "7"),
        ("HOME", "/nowhere"),
    ];
    let loaded = load_texts(file, &variables).unwrap_or_else(|errors| panic!("{errors}"));
    let config = &loaded.config;
    assert_eq!(config.server.workers, 5);
    assert_eq!(config.server.keep_alive, Duration::from_secs(9));
    assert_eq!(config.queue.deadline, None);
    assert_eq!(config.tools.enabled, ["now", "wait"]);
    assert_eq!(config.log.level, "info,actix_server=warn,actix_http=off");
    assert_eq!(config.capacity.max_concurrent_runs, Some(64));
    assert_eq!(config.store.max_connections, Some(7));
    assert_eq!(
        origin_of(&loaded, "server.workers").to_string(),
        "env CALLBOARD__SERVER__WORKERS"
    );
    assert!(matches!(
        origin_of(&loaded, "server.keep_alive"),
        Origin::File { line: Some(3), .. }
    ));
    assert_eq!(
        origin_of(&loaded, "capacity.max_concurrent_runs").to_string(),
        "env MAX_CONCURRENT_AGENT_RUNS"
    );
    assert_eq!(origin_of(&loaded, "log.level"), Origin::Default);
}

#[test]
fn our_own_name_wins_over_the_well_known_one() {
    let variables = [
        ("MAX_CONCURRENT_AGENT_RUNS", "64"),
        ("CALLBOARD__CAPACITY__MAX_CONCURRENT_RUNS", "8"),
    ];
    let loaded = load_texts("", &variables).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.config.capacity.max_concurrent_runs, Some(8));
}

#[test]
fn all_mistakes_are_found_at_once() {
    let file = r#"
[server]
bnid = "127.0.0.1:1"
bind = "localhost"
workers = "many"
max_body = 200
keep_alive = "soon"
[capacity]
ceiling = -1
[store]
synchronous = "fast"
readers = 0
[runs]
default_model = "gpt"
max_steps_default = 300
[model_default]
max_attempts = 3
[log]
level = "inof"
[queue.deadline]
seconds = 3
"#;
    let variables = [
        ("CALLBOARD__EVENTS__MEMORY_TOTAL", "lots"),
        ("CALLBOARD__EVENT__DURABILITY", "strict"),
        ("MAX_CONCURRENT_AGENT_RUNS", "auto"),
    ];
    let expected = [
        "server.bnid @ 3: there is no such key; did you mean \"bind\"?",
        "server.bind @ 4: must be an IP address and a port, such as \"127.0.0.1:8700\" or \"[::1]:8700\"",
        "server.workers @ 5: must be a whole number, not the text \"many\"",
        "server.max_body @ 6: 200 has no unit; write text with a unit, such as \"64KB\"",
        "server.keep_alive @ 7: \"soon\" is not a duration; write a number and a unit, such as \"200ms\", \"30s\" or \"10m\"",
        "capacity.ceiling @ 9: must be a whole number of at least 0 and not beyond reason, not -1",
        "store.synchronous @ 11: must be \"full\" or \"normal\", not \"fast\"",
        "store.readers @ 12: must be from 1 to 1024, not 0",
        "model_default.max_attempts @ 17: there is no such key; did you mean \"model_defaults\"?",
        "queue.deadline.seconds @ 21: queue.deadline is a single value; there are no keys in it",
        "capacity.max_concurrent_runs @ MAX_CONCURRENT_AGENT_RUNS: must be a whole number, not the text \"auto\"",
        "events.memory_total @ CALLBOARD__EVENTS__MEMORY_TOTAL: \"lots\" is not a size; write a number and a unit, such as \"512B\", \"64KB\" or \"200MB\"",
        "event.durability @ CALLBOARD__EVENT__DURABILITY: there is no such key; did you mean \"events\"?",
        "runs.max_steps_default @ 15: runs.max_steps_default must not be more than runs.max_steps_maximum",
        "log.level @ 19: \"inof\" is not a level; there are off, error, warn, info, debug, trace",
        "runs.default_model @ 14: there is no model \"gpt\"; there are simulated",
    ];
    assert_eq!(mistakes(file, &variables), expected);
}

#[test]
fn tools_that_do_not_exist_are_mistakes_of_the_configuration() {
    assert_eq!(
        mistakes("[tools]\nenabled = [\"now\", \"rm\", \"now\"]\n", &[]),
        [
            "tools.enabled @ 2: there is no tool \"rm\"; there are now, echo, wait, calculator, fetch_url, parse_file, search, sql_query",
            "tools.enabled @ 2: names \"now\" twice",
        ]
    );
}

#[test]
fn models_are_their_own_tables_over_the_defaults() {
    let file = r#"
[model_defaults]
idle_timeout = "7s"
[models."gpt-4.1"]
provider = "openai"
base_url = "http://127.0.0.1:9000/v1"
api_key_env = "MY_KEY"
call_timeout = "10m"
"#;
    let variables = [
        ("CALLBOARD__MODELS__GPT_4_1__UPSTREAM_MODEL", "4"),
        ("CALLBOARD__MODELS__GPT_4_1__MAX_ATTEMPTS", "2"),
    ];
    let loaded = load_texts(file, &variables).unwrap_or_else(|errors| panic!("{errors}"));
    let model = &loaded.config.models["gpt-4.1"];
    assert_eq!(model.calls.idle_timeout, Duration::from_secs(7));
    assert_eq!(model.calls.call_timeout, Duration::from_secs(600));
    assert_eq!(model.calls.connect_timeout, Duration::from_secs(5));
    assert_eq!(model.calls.max_attempts, 2);
    assert_eq!(model.targets.len(), 1);
    assert_eq!(model.targets[0].upstream_model, "4");
    assert_eq!(model.targets[0].provider, "gpt-4.1");
    let ProviderService::Remote { dialect, keys, .. } = &loaded.config.providers["gpt-4.1"].service else {
        panic!("it asks somebody");
    };
    assert_eq!(*dialect, Dialect::OpenAi);
    assert_eq!(keys[0].place, KeyPlace::Environment("MY_KEY".to_owned()));
    assert_eq!(keys[0].named_by, "models.\"gpt-4.1\".api_key_env");
    let keys: Vec<&str> = loaded.values.iter().map(|value| value.key.as_str()).collect();
    let place = |key: &str| keys.iter().position(|other| *other == key).expect("it is there");
    assert!(place("models.\"gpt-4.1\".base_url") < place("tools.enabled"));
}

#[test]
fn a_model_that_cannot_be_called_is_refused_and_its_secrets_are_not_repeated() {
    let file = r#"
[models.one]
base_url = "http://127.0.0.1/v1"
[models.two]
provider = "openai"
api_key_env = "sk-secret"
[models.three]
provider = "simulated"
base_url = "http://127.0.0.1/v1"
[models.four]
provider = "openai"
base_url = "https://me:sk-secret@example.com/v1"
api_key = "sk-secret"
[models.five]
"#;
    let found = mistakes(file, &[]);
    let starts = [
        "models.four.api_key @ 13: there is no such key; did you mean \"api_key_env\"?",
        "models.five.provider @ 14: is missing",
        "models.four.base_url @ 12: must not have a user name or a password in it",
        "models.one.provider @ 3: is missing",
        "models.three.base_url @ 9: has no meaning",
        "models.two.api_key_env @ 6: must be the name of an environment variable",
        "models.two.base_url @ 5: is missing",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (line, start) in found.iter().zip(starts) {
        assert!(line.starts_with(start), "{line}");
        assert!(!line.contains("sk-secret"), "{line}");
    }
}

#[test]
fn a_new_tier_needs_all_its_limits() {
    let found = mistakes(
        "[tiers.gold]\nconcurrent_runs = 9\nqueued_runs = 9\nrequests_per_second = 9\n",
        &[],
    );
    assert_eq!(
        found,
        ["tiers.gold.burst @ 2: is missing; a tier needs each of its four limits, 0 for none"]
    );
    let found = mistakes("[tiers.pro]\nburst = 0\n", &[]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("tiers.pro.burst @ 2: must be at least 1"),
        "{found:?}"
    );
}

#[test]
fn a_file_that_is_not_there_or_not_toml_is_said_so() {
    let missing = load(Sources {
        file: Some("does-not-exist.toml".into()),
        environment: environment(&[("CALLBOARD__SERVER__WORKERS", "-1")]),
    });
    let errors = missing.expect_err("there is no such file");
    assert_eq!(errors.0.len(), 2);
    assert!(
        errors
            .to_string()
            .starts_with("the configuration has 2 mistakes:\n  does-not-exist.toml: cannot be read: ")
    );

    let found = mistakes("[server]\nworkers = = 3\n[store]\nreaders = 0\n", &[]);
    assert!(found[0].starts_with("- @ 2: this is not TOML"), "{found:?}");
    assert!(
        found.iter().any(|line| line.starts_with("store.readers @ 4")),
        "{found:?}"
    );
}

#[test]
fn only_loopback_is_loopback() {
    let mut server = Config::default().server;
    for (bind, expected) in [
        ("127.0.0.1:1", true),
        ("127.9.9.9:1", true),
        ("[::1]:1", true),
        ("[::ffff:127.0.0.1]:1", true),
        ("0.0.0.0:1", false),
        ("[::]:1", false),
        ("192.168.0.1:1", false),
    ] {
        server.bind = bind.parse().expect("an address");
        assert_eq!(server.is_loopback(), expected, "{bind}");
    }
}

#[test]
fn secrets_and_networks_are_checked_and_no_secret_is_repeated() {
    let file = r#"
[outbound]
allow = ["10.1.0.0/16", "127.0.0.1/32:9000"]
[secrets.GITHUB]
env = "GITHUB_TOKEN"
hosts = ["api.github.com", "*.github.example"]
accounts = ["acme"]
[secrets.SHOP]
file = "/run/secrets/shop"
hosts = "shop.example"
"#;
    let loaded = load_texts(file, &[]).expect("it is right");
    assert_eq!(loaded.config.outbound.allow.len(), 2);
    let github = &loaded.config.secrets["GITHUB"];
    assert_eq!(github.place, KeyPlace::Environment("GITHUB_TOKEN".to_owned()));
    assert_eq!(
        (github.hosts.len(), github.accounts.as_ref().map(|all| all.len())),
        (2, Some(1))
    );
    assert_eq!(loaded.config.secrets["SHOP"].accounts, None);

    let wrong = r#"
[outbound]
allow = ["10.1.0.0"]
ports = ["http"]
user_agent = ""
max_redirects = 1000
[secrets.A]
env = "ghp_16C7e42F292c6912E7710c838347Ae178B4a"
hosts = ["*"]
[secrets.B]
hosts = ["b.example"]
accounts = ["not an account"]
[secrets.C]
env = "C"
file = "c"
"#;
    let told = mistakes(wrong, &[]).join("\n");
    for part in [
        "outbound.allow @ 3: entry 1: must be a network",
        "outbound.ports @ 4: entry 1: must be a port",
        "outbound.user_agent @ 5: must be printable ASCII",
        "outbound.max_redirects @ 6: must be from 0 to 100",
        "secrets.A.env @ 8: must be the name of an environment variable",
        "secrets.A.hosts @ 9: entry 1: must be a host",
        "secrets.B.env @ 11: is missing",
        "secrets.B.accounts @ 12: entry 1: an account name is",
        "secrets.C.env @ 14: a secret has either env or file",
        "secrets.C.hosts @ 14: is missing",
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }
    assert!(!told.contains("ghp_"), "{told}");
}

#[test]
fn what_built_in_tools_need_is_checked() {
    let right = r#"
[tools]
enabled = ["search", "sql_query"]
[tools.limits.search]
timeout = "5s"
max_concurrent = 3
[tools.search]
url = "https://search.example/?q={{query}}"
headers = { X-Token = "{{secret:SEARCH}}" }
results = "/results"
[tools.databases.shop]
postgres_url_env = "SHOP_URL"
max_rows = 7
[tools.databases.files]
sqlite_path = "./files.db"
[secrets.SEARCH]
env = "SEARCH"
hosts = ["search.example"]
"#;
    for (part, instead, problem) in [
        (
            "secret:SEARCH",
            "secret:NONE",
            "X-Token: there is no secret \"NONE\" in [secrets]",
        ),
        (
            "\"search.example\"",
            "\"other.example\"",
            "X-Token: secrets.SEARCH.hosts does not allow this url",
        ),
    ] {
        let told = mistakes(&right.replace(part, instead), &[]).join("\n");
        assert!(told.contains(&format!("tools.search.headers @ 9: {problem}")), "{told}");
    }
    let config = load_texts(right, &[]).expect("it is right").config;
    let search = config.search.expect("there is one");
    assert_eq!((search.link.as_str(), search.max_results), ("/url", 5));
    assert_eq!(search.headers["X-Token"], "{{secret:SEARCH}}");
    assert_eq!(config.databases["shop"].max_rows, 7);
    assert_eq!(
        config.databases["files"].place,
        DatabasePlaceConfig::Sqlite("./files.db".into())
    );
    assert_eq!(config.tools.limits["search"].max_concurrent, Some(3));

    let told = mistakes("[tools]\nenabled = [\"search\", \"sql_query\"]\n", &[]).join("\n");
    assert!(told.contains("\"search\" needs [tools.search]"), "{told}");
    assert!(told.contains("\"sql_query\" needs a [tools.databases.NAME]"), "{told}");
    for url in [
        "https://me:hidden@search.example/?q={{query}}",
        "https://me@search.example",
        "http://me:hid@a/b@c",
    ] {
        let text = format!("[tools.search]\nurl = \"{url}\"\nresults = \"/results\"\n");
        let told = mistakes(&text, &[]).join("\n");
        assert!(
            told.contains("tools.search.url @ 2: must not have a user name or a password"),
            "{told}"
        );
        assert!(!told.contains("hid"), "{told}");
    }
    let wrong = r#"
[tools.limits.now]
max_concurrent = 0
[tools.search]
url = "https://{{query}}/"
results = "/results"
[tools.databases.a]
postgres_url_env = "postgres://me:hidden@host/db"
[tools.databases.b]
postgres_url_env = "B"
sqlite_path = "b.db"
timeout = "5 parsecs"
"#;
    let told = mistakes(wrong, &[]).join("\n");
    for part in [
        "tools.limits.now.max_concurrent @ 3: must be from 1",
        "tools.search.url @ 5: no argument can stand in front of the path",
        "tools.databases.a.postgres_url_env @ 8: must be the name of an environment variable",
        "tools.databases.b.postgres_url_env @ 10: a database has either",
        "tools.databases.b.timeout @ 12: \"5 parsecs\" is not a duration",
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }
    assert!(!told.contains("hidden"), "{told}");
}

#[test]
fn a_choice_names_its_words_and_a_table_is_one() {
    let file = r#"
models = []
tools = []
log = ["x"]
[store]
synchronous = true
[providers.a]
dialect = 5
[mcp.servers.notes]
command = "x"
retry = ["safe"]
[tiers.plus.budget]
period = 7
[tools.search]
method = false
"#;
    let told = mistakes(&file.replace("tools = []\n", ""), &[]).join("\n");
    for part in [
        "models @ 2: must be a table",
        "log @ 3: must be a table",
        "store.synchronous @ 5: must be \"full\" or \"normal\", not true",
        "providers.a.dialect @ 7: must be \"openai\" or ",
        "mcp.servers.notes.retry @ 10: must be \"safe\" or \"idempotent\" or \"unsafe\", not [\"safe\"]",
        "tiers.plus.budget.period @ 12: must be \"day\" or ",
        "tools.search.method @ 14: must be \"GET\" or \"POST\", not false",
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }
    let told = mistakes("tools = []\n", &[]).join("\n");
    assert!(told.contains("tools @ 1: must be a table"), "{told}");
}
