//! Adapters of the port [`Store`](callboard_actors::ports::Store). They know nothing of each other, only
//! what they share here: rows, counters and commits made again; only the composition root names one.

mod activity;
pub mod postgres;
mod repeated;
mod rows;
pub mod sqlite;
