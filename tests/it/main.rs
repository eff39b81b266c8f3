//! The real binary, over real HTTP, with real SQLite, PostgreSQL and Redis: one module per promise. Each test starts servers of its own,
//! on port 0 and in its own directory; the harness fails on anything left alive.

#![allow(clippy::unwrap_used, reason = "tests")]

mod accounts;
mod agents;
mod aimock;
mod bad_input;
mod broken_parts;
mod cancelling;
mod capacity;
mod chaos;
#[path = "../../examples/chaos/round/mod.rs"]
mod chaos_round;
mod cluster;
mod documents;
mod documents_read;
mod endings;
mod file_buckets;
mod file_limits;
mod file_pictures;
mod file_transfers;
mod files;
mod fleet_crashes;
mod fleet_database;
mod fleet_models;
mod fleet_quota;
mod fleet_redis;
mod fleet_rolling;
mod fleet_sharing;
mod fleet_starting;
mod fleet_threads;
mod fleet_tls;
mod fleet_view;
mod harness;
mod heads;
mod history;
mod http_tools;
mod idempotency;
mod imports;
mod large_pages;
mod large_settings;
mod late_tools;
mod leaving;
mod let_go;
mod log_under_fire;
mod long_polls;
mod many_calls;
mod mcp;
mod model_keys;
mod model_routes;
mod models_budget;
mod models_cached;
mod models_commands;
mod models_fallback;
mod models_keys;
mod models_too_large;
mod models_waiting;
mod openapi;
mod parked_marks;
mod queueing;
mod quota;
mod readiness;
mod recovery;
#[path = "../../examples/rig/mod.rs"]
mod rig;
mod rig_parts;
mod second_thoughts;
mod shared_answers;
mod slow_cancels;
mod startup;
mod steps;
mod store_migration;
mod threads;
mod threads_broken;
mod threads_summary;
mod threads_waiting;
mod threads_without_summary;
#[path = "../../examples/tool_crashes/trial/mod.rs"]
mod tool_crash_trial;
mod tool_crashes;
mod tool_schemas;
mod unknown_outcomes;
mod unread_bodies;
mod usage;
mod waiting_calls;
#[path = "../../src/outbound/testing/web_server.rs"]
#[expect(dead_code, reason = "these tests do not use all of it")]
mod web_server;
