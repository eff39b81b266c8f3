//! Imports point one way: what decides knows no adapter, adapters know the ports and not each other, and only the composition root
//! names concrete ones.

use std::path::{Path, PathBuf};

/// Files below `folder` (relative to the workspace) and the lines of each that are code.
fn sources(folder: &str) -> Vec<(PathBuf, Vec<String>)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the folder is there") {
            let path = entry.expect("it can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("it is text");
                // What follows is the file's own tests, which may put real parts together.
                let code = text
                    .split("#[cfg(test)]")
                    .next()
                    .expect("there is a first part")
                    .lines()
                    .filter(|line| !line.trim_start().starts_with("//"))
                    .map(str::to_owned);
                found.push((path, code.collect()));
            }
        }
    }
    assert!(!found.is_empty(), "{folder} has no sources");
    found
}

/// Tests may put real parts together.
fn is_test(path: &Path) -> bool {
    path.components()
        .any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs" | "testing")))
}

fn refuse(folder: &str, words: &[&str]) {
    let mut offences = Vec::new();
    for (path, lines) in sources(folder) {
        if is_test(&path) {
            continue;
        }
        for word in words {
            let lines = lines.iter().filter(|line| line.contains(word));
            offences.extend(lines.map(|line| format!("{}: {}", path.display(), line.trim())));
        }
    }
    assert!(
        offences.is_empty(),
        "{folder} must not know {words:?}:\n{}",
        offences.join("\n")
    );
}

#[test]
fn what_decides_knows_no_http_no_sql_and_no_redis() {
    refuse(
        "actors/src",
        &["actix_web", "sqlx", "redis::", "reqwest", "callboard::"],
    );
}

#[test]
fn ports_know_no_actors() {
    refuse(
        "actors/src/ports",
        &["actix", "crate::run::", "crate::supervisor", "store_actor", "llm_actor"],
    );
}

#[test]
fn adapters_know_the_ports_and_not_each_other() {
    refuse(
        "src/store",
        &[
            "crate::stream",
            "crate::llm",
            "crate::tools",
            "crate::http",
            "crate::config",
            "supervisor",
        ],
    );
    refuse("src/store/sqlite", &["postgres"]);
    refuse("src/store/postgres", &["sqlite"]);
    refuse("src/stream/memory", &["redis"]);
    refuse("src/stream/redis", &["memory"]);
    refuse(
        "src/stream",
        &[
            "crate::store",
            "crate::llm",
            "crate::tools",
            "crate::http",
            "crate::config",
            "supervisor",
        ],
    );
    refuse(
        "src/limits",
        &[
            "crate::store",
            "crate::stream",
            "crate::llm",
            "crate::tools",
            "crate::http",
            "crate::config",
            "supervisor",
        ],
    );
    refuse(
        "src/llm",
        &[
            "crate::store",
            "crate::stream",
            "crate::tools",
            "crate::http",
            "crate::config",
            "supervisor",
        ],
    );
    for dialect in ["openai", "openai_responses", "anthropic"] {
        let folder = format!("src/llm/{dialect}");
        refuse(
            &folder,
            &["llm::openai", "llm::anthropic", "llm::simulate", "super::super"],
        );
    }
    refuse("src/llm/upstream", &["llm::openai", "llm::anthropic", "llm::simulate"]);
    refuse(
        "src/tools",
        &[
            "crate::store",
            "crate::stream",
            "crate::llm",
            "crate::http",
            "crate::config",
            "supervisor",
        ],
    );
}

#[test]
fn only_one_module_knows_the_library_that_speaks_mcp() {
    for (path, lines) in sources("src") {
        if path.display().to_string().contains("src/tools/mcp/") {
            continue;
        }
        let named = lines.iter().find(|line| line.contains("rmcp::"));
        assert_eq!(named, None, "{}", path.display());
    }
}

#[test]
fn what_reaches_out_knows_none_of_those_who_use_it() {
    for folder in ["src/outbound", "src/secrets"] {
        refuse(
            folder,
            &[
                "crate::config",
                "crate::tools",
                "crate::store",
                "crate::stream",
                "crate::llm",
                "crate::http",
                "supervisor",
            ],
        );
    }
    refuse("src/secrets", &["crate::outbound"]);
}

#[test]
fn what_reaches_redis_knows_none_of_those_who_use_it() {
    refuse(
        "src/redis_client",
        &["callboard_actors", "crate::stream", "crate::limits", "crate::config"],
    );
}

#[test]
fn the_http_side_names_no_concrete_adapter() {
    refuse(
        "src/http",
        &[
            "crate::store",
            "crate::stream",
            "crate::llm",
            "crate::tools",
            "SqliteStore",
            "PostgresStore",
            "MemoryEventLog",
            "RedisEventLog",
            "RedisRateLimits",
        ],
    );
}

#[test]
fn only_the_composition_root_puts_adapters_together() {
    let root = |path: &Path| path.display().to_string().contains("src/app/");
    for (path, lines) in sources("src") {
        let adapter = ["src/store", "src/stream", "src/limits", "src/llm"]
            .iter()
            .any(|folder| path.display().to_string().contains(folder));
        if root(&path) || adapter || is_test(&path) {
            continue;
        }
        for concrete in [
            "SqliteStore",
            "PostgresStore",
            "MemoryEventLog",
            "RedisEventLog",
            "RedisRateLimits",
            "OpenAiModel",
            "OpenAiResponsesModel",
            "AnthropicModel",
            "SimulatedModel",
        ] {
            let named = lines.iter().any(|line| line.contains(concrete));
            assert!(!named, "{} names {concrete}", path.display());
        }
    }
}
