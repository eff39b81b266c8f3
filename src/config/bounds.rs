//! How small and how large each value may be. Every number, size and duration of `config.toml` is in this table: a test sees to it.

use std::time::Duration;

use toml::Value;

use super::values::{parse_duration, parse_size};

/// What a value may be, both ends included.
#[derive(Debug, Clone, Copy)]
enum Bound {
    Number(u64, u64),
    Fraction(f64, f64),
    Size(&'static str, &'static str),
    Time(&'static str, &'static str),
    /// As `Time`, or 0.
    ZeroOrTime(&'static str, &'static str),
}

use Bound::{Fraction, Number, Size, Time, ZeroOrTime};

/// Threads of one kind: more is a mistake, not a wish.
const THREADS: u64 = 4096;
/// Numbers of which any 32-bit one makes sense.
const ANY: u64 = u32::MAX as u64;
/// SQLite's and TOML's integers are signed.
const ANY_LONG: u64 = i64::MAX as u64;

/// By key. `*` stands for any name.
const BOUNDS: &[(&str, Bound)] = &[
    ("server.workers", Number(0, THREADS)),
    ("server.backlog", Number(1, 65_535)),
    ("server.max_connections", Number(1, ANY)),
    ("server.max_body", Size("1KB", "1GB")),
    ("server.max_headers", Size("1KB", "128KB")),
    ("server.keep_alive", ZeroOrTime("1s", "1h")),
    ("server.client_request_timeout", Time("100ms", "10m")),
    ("server.heartbeat_interval", Time("10ms", "10m")),
    ("server.max_long_poll", Time("10ms", "1h")),
    ("server.cancel_timeout", Time("10ms", "10m")),
    ("server.shutdown_grace", ZeroOrTime("1ms", "24h")),
    ("server.idempotency_retention", Time("24h", "366d")),
    ("server.page_default", Number(1, 10_000)),
    ("server.page_maximum", Number(1, 10_000)),
    ("server.max_page", Size("1KB", "1GB")),
    ("capacity.runs_per_cpu", Number(1, 1_000_000)),
    ("capacity.memory_per_run", Size("1KB", "1TB")),
    ("capacity.ceiling", Number(1, 10_000_000)),
    ("capacity.max_concurrent_runs", Number(0, 10_000_000)),
    ("capacity.measured_memory_per_run", Size("1B", "1TB")),
    ("capacity.blocking_threads_minimum", Number(1, THREADS)),
    ("capacity.arbiters", Number(0, THREADS)),
    ("capacity.io_threads", Number(0, THREADS)),
    ("capacity.supervisor_mailbox", Number(1, 1_000_000)),
    ("queue.max_queued", Number(0, ANY)),
    ("queue.deadline", ZeroOrTime("10ms", "366d")),
    ("queue.position_interval", Time("10ms", "1h")),
    ("runs.max_input", Size("1KB", "1GB")),
    ("runs.max_instructions", Size("0", "1GB")),
    ("runs.max_history", Size("1KB", "1GB")),
    ("runs.max_input_items", Number(1, 1_000_000)),
    ("runs.max_recoveries", Number(0, 1_000_000)),
    ("runs.max_input_parts", Number(1, 1_000_000)),
    ("runs.max_tools", Number(0, 10_000)),
    ("runs.max_metadata_entries", Number(0, 10_000)),
    ("runs.max_metadata_key", Size("1B", "1MB")),
    ("runs.max_metadata_value", Size("0B", "1MB")),
    ("runs.max_steps_default", Number(1, 1_000_000)),
    ("runs.max_steps_maximum", Number(1, 1_000_000)),
    ("runs.max_output_tokens_default", Number(0, ANY_LONG)),
    ("runs.max_output_tokens_maximum", Number(0, ANY_LONG)),
    ("runs.max_answer", Size("1KB", "1GB")),
    ("runs.deadline_default", Time("1s", "366d")),
    ("runs.deadline_maximum", Time("1s", "366d")),
    ("store.postgres_writers", Number(1, 256)),
    ("store.readers", Number(1, 1024)),
    ("store.commit_batch", Number(1, 100_000)),
    ("store.queue", Number(1, 10_000_000)),
    ("store.acquire_timeout", Time("1ms", "1h")),
    ("store.busy_timeout", Time("1ms", "10m")),
    ("store.lock_timeout", ZeroOrTime("1ms", "10m")),
    ("store.connections_per_run", Number(1, 10_000)),
    ("store.connection_headroom", Fraction(0.01, 100.0)),
    ("store.connections_ceiling", Number(1, 100_000)),
    ("store.max_connections", Number(0, 100_000)),
    ("events.strict_delta_interval", ZeroOrTime("1ms", "10s")),
    ("events.relaxed_flush_interval", Time("1ms", "1m")),
    ("events.max_unwritten", Size("1KB", "1GB")),
    ("events.memory_per_run", Size("1KB", "1GB")),
    ("events.memory_total", Size("64KB", "1TB")),
    ("events.linger_after_end", ZeroOrTime("1ms", "1h")),
    ("events.read_chunk", Size("1KB", "64MB")),
    ("events.archive_after", Time("1s", "366d")),
    ("events.history_retention", ZeroOrTime("1s", "36525d")),
    ("events.redis_kept_after_end", Time("1s", "366d")),
    ("events.redis_coalesce", ZeroOrTime("1ms", "1s")),
    ("fleet.heartbeat", Time("100ms", "1m")),
    ("fleet.lease", Time("500ms", "10m")),
    ("provider_defaults.requests_per_minute", Number(0, ANY_LONG)),
    ("provider_defaults.tokens_per_minute", Number(0, ANY_LONG)),
    ("provider_defaults.concurrent_calls", Number(0, ANY)),
    ("provider_defaults.max_waiting", Number(0, 10_000_000)),
    ("provider_defaults.circuit_failures", Number(0, 1_000_000)),
    ("provider_defaults.circuit_rest", Time("10ms", "24h")),
    ("provider_defaults.circuit_longest_rest", Time("10ms", "24h")),
    ("answer_cache.max_size", Size("64KB", "1TB")),
    ("model_defaults.connect_timeout", Time("1ms", "10m")),
    ("model_defaults.first_byte_timeout", Time("1ms", "24h")),
    ("model_defaults.idle_timeout", Time("1ms", "24h")),
    ("model_defaults.call_timeout", Time("1ms", "24h")),
    ("model_defaults.max_attempts", Number(1, 100)),
    ("model_defaults.backoff_initial", Time("1ms", "1h")),
    ("model_defaults.backoff_maximum", Time("1ms", "24h")),
    ("model_defaults.longest_wait", Time("0", "24h")),
    ("model_defaults.expected_output_tokens", Number(1, 10_000_000)),
    ("model_defaults.max_output_tokens", Number(1, 10_000_000)),
    ("model_defaults.cache_for", Time("0", "30d")),
    ("model_defaults.max_idle_connections", Number(0, 100_000)),
    ("model_defaults.max_event_size", Size("1KB", "256MB")),
    ("files.max_file", Size("1B", "5TB")),
    ("files.max_files_per_account", Number(0, ANY_LONG)),
    ("files.max_bytes_per_account", Size("0", "1000TB")),
    ("files.max_uploads", Number(1, 10_000)),
    ("files.max_uploads_per_account", Number(1, 10_000)),
    ("files.max_downloads", Number(1, 100_000)),
    ("files.max_downloads_per_account", Number(1, 100_000)),
    ("files.upload_timeout", Time("1s", "24h")),
    ("files.max_image", Size("1KB", "1GB")),
    ("files.max_images_per_call", Size("1KB", "4GB")),
    ("files.max_image_count", Number(1, 100_000)),
    ("tools.documents.max_size", Size("1KB", "4GB")),
    ("tools.documents.max_memory", Size("64MB", "1TB")),
    ("tools.documents.timeout", Time("100ms", "24h")),
    ("tools.timeout", Time("1ms", "24h")),
    ("tools.approval_deadline", Time("0", "3650d")),
    ("tools.max_output", Size("1B", "256MB")),
    ("tools.max_parallel", Number(1, 10_000)),
    ("tools.max_calls_per_answer", Number(1, 10_000)),
    ("tools.declared_cache", Size("1MB", "1TB")),
    ("tools.limits.*.timeout", Time("1ms", "24h")),
    ("tools.limits.*.max_concurrent", Number(1, 1_000_000)),
    ("mcp.setup_timeout", Time("10ms", "10m")),
    ("mcp.call_timeout", Time("10ms", "24h")),
    ("mcp.idle_timeout", ZeroOrTime("10ms", "366d")),
    ("mcp.max_concurrent", Number(1, 100_000)),
    ("mcp.max_message", Size("1KB", "256MB")),
    ("mcp.max_tools", Number(1, 10_000)),
    ("mcp.max_description", Size("0", "1MB")),
    ("mcp.max_schema", Size("1KB", "1MB")),
    ("mcp.max_client_servers", Number(0, 1_000_000)),
    ("tools.search.max_results", Number(1, 100)),
    ("tools.databases.*.max_rows", Number(1, 1_000_000)),
    ("tools.databases.*.timeout", Time("1ms", "24h")),
    ("tools.databases.*.max_concurrent", Number(1, 10_000)),
    ("outbound.max_response", Size("1KB", "256MB")),
    ("outbound.connect_timeout", Time("1ms", "10m")),
    ("outbound.timeout", Time("1ms", "24h")),
    ("outbound.max_redirects", Number(0, 100)),
    ("tiers.*.concurrent_runs", Number(0, ANY)),
    ("tiers.*.queued_runs", Number(0, ANY)),
    ("tiers.*.requests_per_second", Number(0, 1_000_000)),
    ("tiers.*.burst", Number(0, 10_000_000)),
    ("tiers.*.budget.cost_usd", Fraction(0.0, 9_000_000.0)),
    ("tiers.*.budget.tokens", Number(0, ANY_LONG)),
    ("tiers.*.budget.calls", Number(0, ANY_LONG)),
    ("tiers.*.budget.call_time", ZeroOrTime("1s", "36525d")),
];

/// What is wrong with the size of this value, if anything is. The value has its key's type.
pub(super) fn violation(path: &[String], value: &Value) -> Option<String> {
    match (bound_of(path)?, value) {
        (Number(least, most), Value::Integer(number)) => {
            // Negative numbers did not pass as what they are.
            let number = u64::try_from(*number).unwrap_or(0);
            outside(number, least, most).then(|| format!("must be from {least} to {most}, not {number}"))
        }
        (Fraction(least, most), value) => {
            let number = value.as_float().or(value.as_integer().map(|number| number as f64))?;
            // So written, "not a number" is outside too.
            let inside = number >= least && number <= most;
            (!inside).then(|| format!("must be from {least} to {most}, not {number}"))
        }
        (Size(least, most), value) => {
            let size = parse_size(&as_text(value)).ok()?;
            outside(size, parse_size(least).ok()?, parse_size(most).ok()?).then(|| between(least, most, value))
        }
        (Time(least, most), value) => (time_outside(value, least, most)?).then(|| between(least, most, value)),
        (ZeroOrTime(least, most), value) => {
            let is_zero = parse_duration(&as_text(value)).ok()? == Duration::ZERO;
            (!is_zero && time_outside(value, least, most)?).then(|| format!("{}; or 0", between(least, most, value)))
        }
        (Number(..), _) => None,
    }
}

fn bound_of(path: &[String]) -> Option<Bound> {
    let parts: Vec<&str> = path.iter().map(String::as_str).collect();
    let pattern = match parts.as_slice() {
        ["tiers", _, key] => format!("tiers.*.{key}"),
        ["tiers", _, "budget", key] => format!("tiers.*.budget.{key}"),
        ["tools", "databases", _, key] => format!("tools.databases.*.{key}"),
        ["tools", "limits", _, key] => format!("tools.limits.*.{key}"),
        ["providers", _, key] => format!("provider_defaults.{key}"),
        ["models", _, key] => format!("model_defaults.{key}"),
        ["mcp", "servers", _, key] => format!("mcp.{key}"),
        parts => parts.join("."),
    };
    let entry = BOUNDS.iter().find(|(key, _)| *key == pattern)?;
    Some(entry.1)
}

fn outside<T: PartialOrd>(value: T, least: T, most: T) -> bool {
    value < least || value > most
}

fn time_outside(value: &Value, least: &str, most: &str) -> Option<bool> {
    let time = parse_duration(&as_text(value)).ok()?;
    Some(outside(time, parse_duration(least).ok()?, parse_duration(most).ok()?))
}

fn between(least: &str, most: &str, value: &Value) -> String {
    format!("must be from \"{least}\" to \"{most}\", not \"{}\"", as_text(value))
}

/// Text, or a bare 0.
fn as_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(key: &str, value: impl Into<Value>) -> Option<String> {
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        violation(&path, &value.into())
    }

    #[test]
    fn both_ends_are_included() {
        assert_eq!(said("store.readers", 1), None);
        assert_eq!(said("store.readers", 1024), None);
        assert_eq!(
            said("store.readers", 0),
            Some("must be from 1 to 1024, not 0".to_owned())
        );
        assert_eq!(
            said("server.max_body", "2GB"),
            Some("must be from \"1KB\" to \"1GB\", not \"2GB\"".to_owned())
        );
        assert_eq!(
            said("server.idempotency_retention", "23h"),
            Some("must be from \"24h\" to \"366d\", not \"23h\"".to_owned())
        );
        assert_eq!(said("queue.deadline", "0"), None);
        assert_eq!(said("queue.deadline", 0), None);
        assert!(said("queue.deadline", "1ms").is_some_and(|text| text.ends_with("; or 0")));
        assert!(said("store.connection_headroom", f64::NAN).is_some());
        assert!(said("models.gpt-5.max_attempts", 0).is_some());
    }

    #[test]
    fn the_table_itself_can_be_read() {
        for (key, bound) in BOUNDS {
            match bound {
                Size(least, most) => assert!(
                    parse_size(least) <= parse_size(most) && parse_size(most).is_ok(),
                    "{key}"
                ),
                Time(least, most) | ZeroOrTime(least, most) => {
                    assert!(
                        parse_duration(least) <= parse_duration(most) && parse_duration(most).is_ok(),
                        "{key}"
                    );
                }
                Number(least, most) => assert!(least <= most, "{key}"),
                Fraction(least, most) => assert!(least <= most, "{key}"),
            }
        }
    }

    #[test]
    fn no_number_size_or_duration_is_without_bounds() {
        let leaves = super::super::layers::of_toml(
            super::super::DEFAULT_TEXT,
            |_| super::super::Origin::Default,
            &mut Vec::new(),
        );
        for leaf in leaves {
            let super::super::layers::Written::Typed(value) = leaf.value else {
                continue;
            };
            let has_measure = match &value {
                Value::Integer(_) | Value::Float(_) => true,
                Value::String(text) => parse_size(text).is_ok() || parse_duration(text).is_ok(),
                _ => false,
            };
            assert!(
                !has_measure || bound_of(&leaf.path).is_some(),
                "{:?} has no bounds",
                leaf.path
            );
        }
    }
}
