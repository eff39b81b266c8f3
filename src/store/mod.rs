//! Adapters of the port [`Store`](callboard_actors::ports::Store). They know nothing of each other; only the composition root names one.

pub mod postgres;
pub mod sqlite;
