//! The deciding half of Callboard.
//!
//! A client posts a run; the [`supervisor`] admits it against Permits and Slots or queues it; a run actor calls the model and
//! the tools, commits every step and tells its log. This crate knows actors, states and ports. It does *not* know HTTP, SQL, Redis or
//! any provider: those are adapters of the traits in [`ports`], in the crate `callboard`.
//!
//! Start reading at [`run_state`] (the states), [`event`] (what subscribers see) and [`ports`] (the contracts).

pub mod agent;
pub mod call_ledger;
pub mod capacity;
pub mod encoding;
pub mod error;
pub mod event;
pub mod ids;
pub mod item;
pub mod ledger;
pub mod llm;
pub mod local_limits;
pub mod money;
pub mod permits;
pub mod ports;
pub mod queue;
pub mod retry;
mod run;
pub mod run_state;
pub mod services;
pub mod spec;
mod store_actor;
pub mod supervisor;
pub mod template;
pub mod time;
pub mod tool_use;

#[cfg(feature = "testing")]
pub mod testing;
