//! Where a call finds room under the limits of a key: at once, or after a wait in the lines of all targets that may answer it.

use std::sync::Arc;

use tokio::time::Instant;

use super::budget::BudgetHold;
use super::call::{ModelCall, Round, Trouble};
use super::grant::GrantHold;
use super::line::{CallLine, NoRoom, RoomNow};
use super::place::{Place, first_room};
use super::progress::{CallFailure, ModelProgress};
use super::route::Target;
use super::size::CallSize;
use crate::ports::rate_limits::Wanted;
use crate::ports::{ModelError, ModelErrorKind};

/// A target that has room for the call.
pub(super) struct Room {
    /// Which of the targets.
    pub(super) index: usize,
    /// The key, as a place among the target's.
    pub(super) key: usize,
    pub(super) grant: GrantHold,
}

impl Room {
    fn at(index: usize, target: &Target, grant: GrantHold) -> Self {
        // Grants are of keys that were asked for, and those are the target's.
        let key = target.keys.iter().position(|key| key.name == *grant.key_name());
        Self {
            index,
            key: key.unwrap_or(0),
            grant,
        }
    }
}

impl ModelCall {
    /// The first target with room for the call, or the one that has some first.
    pub(super) async fn find_room(
        &mut self,
        targets: &[Arc<Target>],
        round: &Round,
        hold: Option<&BudgetHold>,
    ) -> Result<Room, CallFailure> {
        let (mut full, mut left_alone, mut back_later) = (Vec::new(), Vec::new(), Vec::new());
        let size = self.size(hold);
        let mut too_low: Option<u64> = None;
        for (index, target) in targets.iter().enumerate() {
            let Some(wanted) = self.wanted(target, round, size) else {
                continue;
            };
            match round.trouble[index] {
                None => {}
                Some(Trouble::ForGood) => continue,
                Some(Trouble::Until { back_at, .. }) => {
                    back_later.push((index, wanted, back_at));
                    continue;
                }
            }
            if !target.provider.circuit.lets_through() {
                left_alone.push((index, wanted));
                continue;
            }
            match target.line.room_now(&target.provider, &wanted).await {
                RoomNow::Granted(grant) => return Ok(Room::at(index, target, grant)),
                RoomNow::NotYet => {
                    target.provider.circuit.not_tried();
                    full.push((index, wanted));
                }
                RoomNow::AllKeysRefused => target.provider.circuit.not_tried(),
                RoomNow::NeverFits { limit } => {
                    target.provider.circuit.not_tried();
                    too_low = too_low.max(Some(limit));
                }
            }
        }
        if full.is_empty() {
            return Err(CallFailure::Model(match too_low {
                _ if !left_alone.is_empty() => in_trouble(),
                Some(limit) => size.too_large_for(limit),
                None => keys_refused(),
            }));
        }
        // One that is left alone now may have room before the others have.
        full.extend(left_alone);
        self.wait_for_room(targets, full, back_later, size).await
    }

    /// Waits in the lines of these targets, and of others from a moment on.
    async fn wait_for_room(
        &mut self,
        targets: &[Arc<Target>],
        waited_for: Vec<(usize, Wanted)>,
        back_later: Vec<(usize, Wanted, Instant)>,
        size: CallSize,
    ) -> Result<Room, CallFailure> {
        let began = Instant::now();
        let deadline = began + self.patience;
        let mut places: Vec<(usize, Place)> = Vec::new();
        let mut answer = Err(NoRoom::LineFull);
        let account = &self.wish.account;
        // Who stands in a line twice would have two turns.
        let is_in_line = |places: &[(usize, Place)], line: &Arc<CallLine>| {
            let mut others = places.iter().map(|(other, _)| &targets[*other].line);
            others.any(|other| Arc::ptr_eq(other, line))
        };
        for (index, wanted) in waited_for {
            let target = &targets[index];
            if is_in_line(&places, &target.line) {
                continue;
            }
            let standing = target.line.stand_in_line(account, &target.provider, wanted, deadline);
            if let Ok(place) = standing {
                places.push((index, place));
            }
        }
        if !places.is_empty() {
            for (index, wanted, at) in back_later {
                let target = &targets[index];
                if !is_in_line(&places, &target.line) {
                    let (line, provider) = (target.line.clone(), target.provider.clone());
                    let place = Place::later(line, account.clone(), provider, wanted, at, deadline);
                    places.push((index, place));
                }
            }
            let tell = |notice| self.listener.hear(ModelProgress::Waiting(notice));
            answer = first_room(places, deadline, tell).await;
        }
        self.patience = self.patience.saturating_sub(began.elapsed());
        let (index, grant) = answer.map_err(|no_room| match no_room {
            NoRoom::LineFull => CallFailure::Capacity("as many calls wait for this model as may; try again later"),
            NoRoom::Deadline => {
                CallFailure::Capacity("the limits of the model's keys left no room for the call in time")
            }
            NoRoom::AllKeysRefused => CallFailure::Model(keys_refused()),
            NoRoom::NeverFits { limit } => CallFailure::Model(size.too_large_for(limit)),
        })?;
        let target = &targets[index];
        let provider = target.provider.name.to_string();
        metrics::histogram!("callboard_model_wait_seconds", "provider" => provider).record(began.elapsed());
        Ok(Room::at(index, target, grant))
    }

    /// Tokens of the call. Providers count what an answer may have at most, where they are told; where they are not, it is counted as it usually
    /// is.
    pub(super) fn size(&self, hold: Option<&BudgetHold>) -> CallSize {
        let told = hold
            .map(BudgetHold::output_tokens)
            .or(self.wish.request.max_output_tokens);
        CallSize {
            input: self.likely_input_tokens,
            output: told.unwrap_or(self.expected_output_tokens()),
        }
    }

    /// The room that the call takes at a target; `None` if no key is left to try.
    fn wanted(&self, target: &Target, round: &Round, size: CallSize) -> Option<Wanted> {
        let is_left = |name: &str| !round.suspects.have(name);
        let keys = if target.keys.iter().all(|key| is_left(&key.name)) {
            target.keys.clone()
        } else {
            target.keys.iter().filter(|key| is_left(&key.name)).cloned().collect()
        };
        (!keys.is_empty()).then(|| Wanted {
            keys,
            tokens: size.total(),
            lease: self.wish.routes[0].calls.timeouts.call,
        })
    }
}

fn keys_refused() -> ModelError {
    ModelError::new(
        ModelErrorKind::Status(401),
        "the model's provider refuses the server's keys",
    )
}

fn in_trouble() -> ModelError {
    ModelError::new(
        ModelErrorKind::Connection,
        "the model's providers are in trouble and are left alone for a while",
    )
}
