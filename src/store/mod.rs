//! Adapters of the port [`Store`](callboard_actors::ports::Store). They know nothing of each other, only
//! what they share here: rows, counters, reading agents, threads and files, changes of files, the statements of budgets, the archive's encoding and commits made
//! again; only the composition root names one, and only [`migrate`] knows the tables of two.

mod activity;
mod agents;
mod api_keys;
mod archive;
mod budget_statements;
mod budgets;
mod file_changes;
mod files;
mod items;
pub mod migrate;
pub mod postgres;
mod reading;
mod repeated;
mod rows;
mod runs;
pub mod sqlite;
mod threads;
mod watch;
