//! Why a run failed: a stable code that programs branch on and a sentence for people.

use serde::{Deserialize, Serialize};

/// The `error` of a run in state `failed`. The message never quotes internals: no SQL, no paths, no secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct RunError {
    /// What went wrong, for programs.
    pub code: RunErrorCode,
    /// What went wrong, for people.
    pub message: String,
}

impl RunError {
    /// An error with this code and message.
    pub fn new(code: RunErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// The run took longer than it may, whether it was running or waiting.
    pub fn deadline_exceeded() -> Self {
        Self::new(
            RunErrorCode::DeadlineExceeded,
            "the run did not end before its deadline",
        )
    }

    /// Something of ours broke. The details are in the server's log under the run's id.
    pub fn internal() -> Self {
        Self::new(
            RunErrorCode::Internal,
            "the server hit an internal error; its log has the details under this run's id",
        )
    }
}

/// Every reason a run can fail for. Stable: a code never changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunErrorCode {
    /// A bug or a panic in this server or one of its tools.
    Internal,
    /// The run did not start before its queue deadline.
    QueueDeadline,
    /// The run did not end before its deadline.
    DeadlineExceeded,
    /// The model wanted more steps than `limits.max_steps`.
    StepLimit,
    /// The model had more to say than `limits.max_output_tokens`.
    OutputLimit,
    /// The model's provider refused the request; asking again would not help.
    ModelRejected,
    /// The provider could not be reached or was overloaded, on every try.
    ModelUnavailable,
    /// The provider took longer than a time-out allows, on every try.
    ModelTimeout,
    /// The provider answered something that is not its protocol.
    ModelProtocol,
    /// The provider withheld the answer.
    ContentFilter,
    /// The limits of the model's keys left no room for the call: its line was full, or it waited for as long as it may.
    ModelCapacity,
    /// The call is larger than any key of the model allows in a minute, or than its provider takes.
    ModelRequestTooLarge,
    /// A budget of the run or of its account is used up.
    BudgetExceeded,
    /// A tool call was not answered before its deadline, and its tool wants the run to end then.
    ToolDeadline,
    /// A person decided that the run cannot go on without knowing what became of a tool call.
    ReviewFailed,
    /// The thread is longer than the server gives a run to go on with, and the run's history policy drops nothing.
    HistoryLimit,
    /// The storage of files did not answer, on every try, and the input has a picture there.
    FilesUnavailable,
    /// The instances that had it were lost one after the other, and it got no step further.
    RecoveryLimit,
}

impl RunErrorCode {
    /// The name in JSON and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::QueueDeadline => "queue_deadline",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::StepLimit => "step_limit",
            Self::OutputLimit => "output_limit",
            Self::ModelRejected => "model_rejected",
            Self::ModelUnavailable => "model_unavailable",
            Self::ModelTimeout => "model_timeout",
            Self::ModelProtocol => "model_protocol",
            Self::ContentFilter => "content_filter",
            Self::ModelCapacity => "model_capacity",
            Self::ModelRequestTooLarge => "model_request_too_large",
            Self::BudgetExceeded => "budget_exceeded",
            Self::ToolDeadline => "tool_deadline",
            Self::ReviewFailed => "review_failed",
            Self::HistoryLimit => "history_limit",
            Self::FilesUnavailable => "files_unavailable",
            Self::RecoveryLimit => "recovery_limit",
        }
    }
}

impl std::fmt::Display for RunErrorCode {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}
