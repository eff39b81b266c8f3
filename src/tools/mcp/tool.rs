//! A tool of a server, for the runs that may call it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use callboard_actors::ids::AccountId;
use callboard_actors::ports::{ProgressReporter, RetryClass, Tool, ToolCall, ToolDefinition, ToolError};
use rmcp::model::{CallToolRequestParams, MetaObject};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::connection::{CallFailure, CallTimes};
use super::results::rendered;
use super::server::McpServer;

/// Where the call's item is said, so that a server can tell a call that is made again: it is the same then.
const IDEMPOTENCY_KEY: &str = "callboard/idempotencyKey";

/// What is left of a call's time when it is given up here, so that the word of that is heard and not only the end of time.
const MARGIN: Duration = Duration::from_millis(500);

/// Bytes that are quoted of what a server says of an error.
const LONGEST_QUOTE: usize = 2000;

/// A tool of a server.
pub(super) struct McpTool {
    pub(super) server: Arc<McpServer>,
    /// What the run calls the server.
    pub(super) server_name: String,
    /// As the server calls it.
    pub(super) name: String,
    pub(super) definition: ToolDefinition,
    pub(super) retry: RetryClass,
}

#[async_trait]
impl Tool for McpTool {
    fn definition(&self) -> ToolDefinition {
        self.definition.clone()
    }

    fn retry_class(&self) -> RetryClass {
        self.retry
    }

    fn places(&self, account: &AccountId) -> Vec<Arc<Semaphore>> {
        self.server.places(account)
    }

    fn label(&self) -> Arc<str> {
        format!("mcp:{}", self.server.label).into()
    }

    async fn call(&self, call: ToolCall) -> Result<String, ToolError> {
        let (nobody_listens, _) = ProgressReporter::new();
        self.call_with_progress(call, nobody_listens).await
    }

    async fn call_with_progress(&self, call: ToolCall, progress: ProgressReporter) -> Result<String, ToolError> {
        let mut counted = Counted {
            server: &self.server.label,
            outcome: "given_up",
        };
        let (outcome, result) = self.make(call, progress).await;
        counted.outcome = outcome;
        result
    }
}

/// Counts a call when it is over, also when it is dropped.
struct Counted<'a> {
    server: &'a str,
    outcome: &'static str,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let labels = [("server", self.server.to_owned()), ("outcome", self.outcome.to_owned())];
        metrics::counter!("callboard_mcp_calls_total", &labels).increment(1);
    }
}

impl McpTool {
    async fn make(&self, call: ToolCall, progress: ProgressReporter) -> (&'static str, Result<String, ToolError>) {
        let params = match self.params(call) {
            Ok(params) => params,
            Err(error) => return ("invalid", Err(error)),
        };
        let longest = self.server.bounds.longest_call;
        let whole = longest.saturating_sub(MARGIN.min(longest / 10));
        let silence = self.server.settings.call_timeout.min(whole);
        let last_moment = Instant::now() + whole;
        let mut may_try_again = true;
        // What is said of a call that this try does not send: an earlier one may have.
        let mut outcome = "the call was not made";
        loop {
            let connection = match self.server.connect(silence).await {
                Ok(connection) => connection,
                Err(reason) => {
                    let problem = format!("is not available ({reason}); {outcome}");
                    return ("unavailable", self.failed(&problem));
                }
            };
            let times = CallTimes {
                silence,
                whole: last_moment.saturating_duration_since(Instant::now()),
            };
            if times.whole.is_zero() {
                // It would be sent only to be given up, and then nobody knew whether it was done.
                let problem = format!("was not there before the time of the call was over; {outcome}");
                return ("unavailable", self.failed(&problem));
            }
            let failure = match connection.call(params.clone(), progress.clone(), times).await {
                Ok(result) => {
                    self.server.worked();
                    return match rendered(result, &self.server.hidden) {
                        Ok(output) => ("ok", Ok(output)),
                        Err(said) => ("error", Err(ToolError::new(said))),
                    };
                }
                Err(failure) => failure,
            };
            match failure {
                CallFailure::NotMade | CallFailure::Lost => self.server.give_up(&connection),
                CallFailure::Refused(_) | CallFailure::Unreadable(_) => self.server.worked(),
                CallFailure::TimedOut(_) => self.server.was_silent(&connection),
            }
            drop(connection);
            if failure == CallFailure::Lost {
                outcome = "it is not known whether the call was done";
            }
            let may_repeat = failure == CallFailure::NotMade || self.retry != RetryClass::Unsafe;
            match failure {
                CallFailure::NotMade | CallFailure::Lost if may_try_again && may_repeat => may_try_again = false,
                CallFailure::NotMade => {
                    return ("unavailable", self.failed(&format!("does not take calls; {outcome}")));
                }
                CallFailure::Lost => {
                    let problem = "ended before it answered, or the connection to it broke. It is not known whether the call was done";
                    return ("lost", self.failed(problem));
                }
                CallFailure::TimedOut(after) => {
                    // What was left of a call's time is an odd number.
                    let after =
                        Duration::from_millis(u64::try_from(after.as_millis().div_ceil(100) * 100).unwrap_or(u64::MAX));
                    let problem = format!("did not answer within {after:?}. It is not known whether the call was done");
                    return ("timeout", self.failed(&problem));
                }
                CallFailure::Refused(said) => {
                    let said = self.server.hidden.replaced_in(said);
                    let said = &said[..said.floor_char_boundary(LONGEST_QUOTE)];
                    return ("refused", self.failed(&format!("refuses the call: {said}")));
                }
                CallFailure::Unreadable(why) => {
                    let problem = format!("did the call, but its answer {why}");
                    return ("unreadable", self.failed(&problem));
                }
            }
        }
    }

    fn params(&self, call: ToolCall) -> Result<CallToolRequestParams, ToolError> {
        let Value::Object(arguments) = call.arguments else {
            return Err(ToolError::new("wrong arguments: they are no object"));
        };
        let mut meta = MetaObject::new();
        meta.insert(IDEMPOTENCY_KEY.to_owned(), call.item_id.to_string().into());
        let mut params = CallToolRequestParams::new(Cow::Owned(self.name.clone())).with_arguments(arguments);
        params.meta = Some(meta.into());
        Ok(params)
    }

    fn failed(&self, problem: &str) -> Result<String, ToolError> {
        Err(ToolError::new(format!(
            "the MCP server `{}` {problem}",
            self.server_name
        )))
    }
}
