//! The states of a run and the one function that says which moves are legal.
//!
//! ```text
//!            ┌──────────────── handed over ───────────────┐
//!            ▼                                            │
//!        ┌────────┐  Permit and Slot   ┌─────────┐        │
//!  ─────▶│ queued │ ──────────────────▶│ running │ ───────┘
//!        └────────┘                    └─────────┘
//!          │    ▲  it came: first in line   │  │
//!          │    └───────────┐               │  │ needs something from outside
//!          │            ┌─────────┐         │  │
//!          │            │ waiting │◀────────┼──┘
//!          │            └─────────┘         │
//!          ▼                 ▼              ▼
//!        ════════ completed │ failed │ cancelled ════════   (no way out)
//! ```
//!
//! `queued` and `waiting` hold neither a Permit nor a Slot; `running` holds both.

use serde::{Deserialize, Serialize};

/// Where a run is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Admitted and durable; waits for a Permit and a Slot.
    Queued,
    /// An actor works on it.
    Running,
    /// Needs something from outside: a tool result, an approval, a review.
    Waiting,
    /// Ended because the model had no more to say.
    Completed,
    /// Ended by an error, a limit or a deadline; `error.code` says which.
    Failed,
    /// Ended because someone asked for it.
    Cancelled,
}

impl RunState {
    /// Every state, in the order of the diagram.
    pub const ALL: [Self; 6] = [
        Self::Queued,
        Self::Running,
        Self::Waiting,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The name in JSON, in the store and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// Whether the run is over: nothing about it changes any more.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// Whether a run may go from this state to `next`. A run that stays where it is has not moved.
    pub const fn may_become(self, next: Self) -> bool {
        match self {
            Self::Queued => matches!(next, Self::Running | Self::Failed | Self::Cancelled),
            Self::Running => {
                matches!(
                    next,
                    Self::Queued | Self::Waiting | Self::Completed | Self::Failed | Self::Cancelled
                )
            }
            Self::Waiting => matches!(next, Self::Queued | Self::Failed | Self::Cancelled),
            Self::Completed | Self::Failed | Self::Cancelled => false,
        }
    }
}

impl std::fmt::Display for RunState {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_state() -> impl Strategy<Value = RunState> {
        proptest::sample::select(&RunState::ALL[..])
    }

    proptest! {
        #[test]
        fn nothing_leaves_a_terminal_state(from in any_state(), to in any_state()) {
            prop_assert!(!(from.is_terminal() && from.may_become(to)));
        }

        #[test]
        fn a_walk_of_legal_moves_ends_at_most_once(moves in proptest::collection::vec(any_state(), 0..200)) {
            let mut state = RunState::Queued;
            let mut endings = 0;
            for next in moves {
                if state.may_become(next) {
                    endings += usize::from(next.is_terminal());
                    state = next;
                }
            }
            prop_assert!(endings <= 1);
            prop_assert_eq!(endings == 1, state.is_terminal());
        }

        #[test]
        fn every_living_state_can_be_cancelled_and_can_fail(from in any_state()) {
            prop_assert_eq!(from.may_become(RunState::Cancelled), !from.is_terminal());
            prop_assert_eq!(from.may_become(RunState::Failed), !from.is_terminal());
        }
    }

    #[test]
    fn names_read_back_and_agree_with_json() {
        for state in RunState::ALL {
            assert_eq!(RunState::parse(state.as_str()), Some(state));
            assert_eq!(serde_json::to_value(state).expect("a name"), state.as_str());
        }
        assert_eq!(RunState::parse("stopped"), None);
    }

    #[test]
    fn only_running_is_entered_from_the_queue_to_work() {
        assert!(!RunState::Queued.may_become(RunState::Completed));
        assert!(!RunState::Waiting.may_become(RunState::Running));
        assert!(RunState::ALL.iter().all(|state| !state.may_become(*state)));
    }
}
