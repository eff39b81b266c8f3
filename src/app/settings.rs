//! From the configuration to the options of each part.

use std::collections::HashMap;

use callboard_actors::capacity::{MachineSize, RunLimit};
use callboard_actors::llm::AccountBudget;
use callboard_actors::supervisor::SupervisorSettings;
use serde_json::json;

use super::CLOSING_TIME;
use crate::auth::RequestRate;
use crate::config::Config;
use crate::housekeeping::HousekeepingTimes;
use crate::http::{CapacityReport, HttpOptions, RunRequestLimits};
use crate::outbound::{AllowedNetwork, OutboundOptions, PortRange};
use crate::tools::{DocumentLimits, ToolLimits, ToolboxOptions};

pub(super) fn or_cpus(count: usize, cpus: usize) -> usize {
    if count == 0 { cpus.max(1) } else { count }
}

pub(super) fn supervisor_settings(config: &Config, limit: &RunLimit, cpus: usize) -> SupervisorSettings {
    SupervisorSettings {
        permits: limit.runs,
        queue_limit: config.queue.max_queued,
        queue_deadline: config.queue.deadline,
        position_interval: config.queue.position_interval,
        tiers: config
            .tiers
            .iter()
            .map(|(name, tier)| (name.clone(), tier.quota()))
            .collect(),
        arbiters: or_cpus(config.capacity.arbiters, cpus),
        mailbox: config.capacity.supervisor_mailbox,
    }
}

pub(super) fn request_rates(config: &Config) -> impl Iterator<Item = (String, RequestRate)> {
    config.tiers.iter().filter_map(|(name, tier)| {
        let per_second = tier.requests_per_second?;
        Some((
            name.clone(),
            RequestRate {
                requests_per_second: per_second.try_into().ok()?,
                burst: tier.burst.try_into().ok()?,
            },
        ))
    })
}

/// What accounts may use, by tier.
pub(super) fn tier_budgets(config: &Config) -> HashMap<String, AccountBudget> {
    let tiers = config.tiers.iter();
    tiers
        .filter_map(|(name, tier)| Some((name.clone(), tier.budget?)))
        .collect()
}

pub(super) fn capacity_report(config: &Config, machine: MachineSize, limit: &RunLimit) -> CapacityReport {
    let parameters = config.capacity_parameters();
    CapacityReport {
        inputs: json!({
            "cpus": machine.cpus,
            "memory_bytes": machine.memory_bytes,
            "runs_per_cpu": parameters.runs_per_cpu,
            "memory_per_run_bytes": parameters.memory_per_run,
            "ceiling": parameters.ceiling,
            "max_concurrent_runs": parameters.max_concurrent_runs,
        }),
        limits: json!({
            "concurrent_runs": limit.runs,
            "decided_by": limit.decided_by.as_str(),
            "explanation": limit.to_string(),
            "cpus_allow": limit.cpus_allow,
            "memory_allows": limit.memory_allows,
            "database_connections": parameters.database_connections(limit.runs),
            "blocking_threads": parameters.blocking_threads(machine),
        }),
        tiers: config
            .tiers
            .iter()
            .map(|(name, tier)| {
                let quota = json!({
                    "concurrent_runs": tier.concurrent_runs,
                    "queued_runs": tier.queued_runs,
                    "requests_per_second": tier.requests_per_second,
                });
                (name.clone(), quota)
            })
            .collect(),
    }
}

pub(super) fn http_options(config: &Config, cpus: usize) -> HttpOptions {
    let (server, runs) = (&config.server, &config.runs);
    let workers = or_cpus(server.workers, cpus);
    HttpOptions {
        workers,
        max_connections: server.max_connections,
        keep_alive: server.keep_alive,
        request_timeout: server.client_request_timeout,
        shutdown_timeout: CLOSING_TIME,
        max_body_bytes: server.max_body,
        max_header_bytes: server.max_headers,
        max_long_poll: server.max_long_poll,
        cancel_timeout: server.cancel_timeout,
        heartbeat: server.heartbeat_interval,
        default_page_size: server.page_default,
        max_page_size: server.page_maximum,
        max_page_bytes: server.max_page,
        max_image_bytes_per_call: config.files.max_images_per_call,
        max_image_count_per_call: config.files.max_image_count,
        runs: RunRequestLimits {
            default_model: runs.default_model.clone(),
            max_input_items: runs.max_input_items,
            max_input_parts: runs.max_input_parts,
            max_input_bytes: runs.max_input,
            max_instructions_bytes: runs.max_instructions,
            max_tools: runs.max_tools,
            max_tool_output: config.tools.max_output,
            max_metadata_entries: runs.max_metadata_entries,
            max_metadata_key_bytes: runs.max_metadata_key,
            max_metadata_value_bytes: runs.max_metadata_value,
            default_max_steps: runs.max_steps_default,
            max_steps_ceiling: runs.max_steps_maximum,
            default_max_output_tokens: runs.max_output_tokens_default,
            max_output_tokens_ceiling: runs.max_output_tokens_maximum.unwrap_or(u64::MAX),
            default_deadline: runs.deadline_default,
            deadline_ceiling: runs.deadline_maximum,
        },
    }
}

/// What may be asked of addresses that others choose.
pub(super) fn outbound_options(config: &Config) -> OutboundOptions {
    let outbound = &config.outbound;
    OutboundOptions {
        allowed: outbound.allow.clone(),
        ports: outbound.ports.clone(),
        user_agent: outbound.user_agent.clone(),
        max_response: outbound.max_response,
        connect_timeout: outbound.connect_timeout,
        timeout: outbound.timeout,
        max_redirects: outbound.max_redirects,
    }
}

/// The same for endpoints that the configuration itself names: wherever they are, and nowhere else.
pub(super) fn configured_endpoint_options(config: &Config) -> OutboundOptions {
    OutboundOptions {
        allowed: vec![AllowedNetwork::ALL_OF_IPV4, AllowedNetwork::ALL_OF_IPV6],
        ports: vec![PortRange::ALL],
        max_redirects: 0,
        ..outbound_options(config)
    }
}

pub(super) fn toolbox_options(config: &Config) -> ToolboxOptions {
    let limits = config.tools.limits.iter().map(|(name, limits)| {
        let limits = ToolLimits {
            timeout: limits.timeout,
            max_concurrent: limits.max_concurrent.map(|most| most as usize),
        };
        (name.clone(), limits)
    });
    ToolboxOptions {
        longest_call: config.tools.timeout,
        max_kept: config.tools.declared_cache,
        limits: limits.collect(),
    }
}

/// What reading a document may use; as many at once as the tool's own limit says, or as there are threads for blocking work.
pub(super) fn document_limits(config: &Config, machine: MachineSize) -> DocumentLimits {
    let section = &config.tools.documents;
    let own_limit = config
        .tools
        .limits
        .get("parse_file")
        .and_then(|limits| limits.max_concurrent);
    let threads = config.capacity_parameters().blocking_threads(machine);
    DocumentLimits {
        max_bytes: section.max_size,
        max_memory: section.max_memory,
        timeout: section.timeout,
        max_parallel: own_limit.unwrap_or(threads) as usize,
    }
}

pub(super) fn housekeeping_times(config: &Config) -> HousekeepingTimes {
    HousekeepingTimes {
        idempotency_retention: config.server.idempotency_retention,
        archive_after: config.events.archive_after,
        history_retention: config.events.history_retention,
    }
}
