//! The ports: how the deciding half meets the world. Adapters implement these traits and know nothing of each other.
//!
//! All futures run on the shared I/O runtime, never on an arbiter. A panic in an adapter is caught by whoever called it.

pub mod agents;
pub mod answer_cache;
pub mod budgets;
pub mod event_log;
pub mod files;
pub mod fleet;
pub mod image_files;
pub mod model;
pub mod rate_limits;
pub mod store;
mod store_rules;
pub mod threads;
pub mod tool;
mod tool_progress;
pub mod toolbox;

pub use agents::Agents;
pub use answer_cache::AnswerCache;
pub use budgets::Budgets;
pub use event_log::{EventLog, EventLogError, EventStream, LogHead, Reach};
pub use files::Files;
pub use fleet::Fleet;
pub use image_files::{ImageFileError, ImageFiles};
pub use model::{Model, ModelAnswer, ModelDelta, ModelError, ModelErrorKind, ModelRequest, ModelStream};
pub use rate_limits::RateLimits;
pub use store::{Store, StoreError};
pub use store_rules::Parked;
pub use threads::Threads;
pub use tool::{ProgressReporter, RetryClass, Tool, ToolCall, ToolDefinition, ToolError, ToolProgress};
pub use toolbox::Toolbox;
