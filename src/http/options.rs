//! Limits and manners of the HTTP surface, as plain values: this module does not know `config.toml`.

use std::time::Duration;

/// How the server listens and what it accepts.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpOptions {
    /// Worker threads.
    pub workers: usize,
    /// Connections that may be open, over all workers; more wait in the backlog.
    pub max_connections: usize,
    /// How long an idle connection stays open.
    pub keep_alive: Duration,
    /// How long a client may take to send its request's head, and again its body.
    pub request_timeout: Duration,
    /// How long connections may take to end when the server stops gracefully, in whole seconds.
    pub shutdown_timeout: Duration,
    /// Largest request body, bytes.
    pub max_body_bytes: usize,
    /// Largest request head: names and values of all headers, bytes.
    pub max_header_bytes: usize,
    /// Longest accepted `?wait=`.
    pub max_long_poll: Duration,
    /// How long a cancel waits for its run to end.
    pub cancel_timeout: Duration,
    /// Silence on an event stream after which a comment is sent.
    pub heartbeat: Duration,
    /// Entries of a page if the client does not say.
    pub default_page_size: u32,
    /// Most entries of a page.
    pub max_page_size: u32,
    /// A page of a list ends when it has grown beyond this, bytes.
    pub max_page_bytes: usize,
    /// Bytes of all pictures of one model call, as they are sent.
    pub max_image_bytes_per_call: usize,
    /// Pictures of one model call.
    pub max_image_count_per_call: usize,
    /// What a run may ask for.
    pub runs: RunRequestLimits,
}

/// What a request for a run may ask for, and what it gets when it is silent.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRequestLimits {
    /// The model of a run that names none.
    pub default_model: String,
    /// Items of `input`.
    pub max_input_items: usize,
    /// Parts of all messages of `input` together.
    pub max_input_parts: usize,
    /// Bytes of text in `input`, all items together.
    pub max_input_bytes: usize,
    /// Bytes of `instructions`.
    pub max_instructions_bytes: usize,
    /// Tools of one run.
    pub max_tools: usize,
    /// Bytes of a tool's output that are kept.
    pub max_tool_output: usize,
    /// Entries of `metadata`.
    pub max_metadata_entries: usize,
    /// Bytes of a metadata key.
    pub max_metadata_key_bytes: usize,
    /// Bytes of a metadata value.
    pub max_metadata_value_bytes: usize,
    /// `limits.max_steps` if the client is silent.
    pub default_max_steps: u32,
    /// Highest accepted `limits.max_steps`.
    pub max_steps_ceiling: u32,
    /// `limits.max_output_tokens` if the client is silent.
    pub default_max_output_tokens: Option<u64>,
    /// Highest accepted `limits.max_output_tokens`.
    pub max_output_tokens_ceiling: u64,
    /// `limits.deadline_seconds` if the client is silent.
    pub default_deadline: Duration,
    /// Highest accepted `limits.deadline_seconds`.
    pub deadline_ceiling: Duration,
}

impl Default for HttpOptions {
    /// A local server on a free port; the shipped `config.toml` decides about a real one.
    fn default() -> Self {
        Self {
            workers: 2,
            max_connections: 20_000,
            keep_alive: Duration::from_secs(75),
            request_timeout: Duration::from_secs(30),
            shutdown_timeout: Duration::from_secs(5),
            max_body_bytes: 1024 * 1024,
            max_header_bytes: 32 * 1024,
            max_long_poll: Duration::from_secs(60),
            cancel_timeout: Duration::from_secs(20),
            heartbeat: Duration::from_secs(15),
            default_page_size: 50,
            max_page_size: 500,
            max_page_bytes: 4 * 1024 * 1024,
            max_image_bytes_per_call: 40_000_000,
            max_image_count_per_call: 500,
            runs: RunRequestLimits::default(),
        }
    }
}

impl Default for RunRequestLimits {
    fn default() -> Self {
        Self {
            default_model: "simulated".to_owned(),
            max_input_items: 1000,
            max_input_parts: 10_000,
            max_input_bytes: 1_000_000,
            max_instructions_bytes: 100_000,
            max_tools: 128,
            max_tool_output: 64 * 1024,
            max_metadata_entries: 32,
            max_metadata_key_bytes: 64,
            max_metadata_value_bytes: 512,
            default_max_steps: 25,
            max_steps_ceiling: 1000,
            default_max_output_tokens: None,
            max_output_tokens_ceiling: 10_000_000,
            default_deadline: Duration::from_secs(50 * 60),
            deadline_ceiling: Duration::from_secs(24 * 60 * 60),
        }
    }
}
