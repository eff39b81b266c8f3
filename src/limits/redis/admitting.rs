//! Admissions on which Redis decides, alone or together with this instance.

use std::time::Duration;

use callboard_actors::event::ModelWaitingReason;
use callboard_actors::local_limits::{Obstacle, SHORT_WAIT};
use callboard_actors::ports::model::LimitHints;
use callboard_actors::ports::rate_limits::{Admission, CallEnd, Wanted};
use uuid::Uuid;

use super::Shared;
use super::asking::{Away, grant};
use super::script::Decision;

/// Tokens come back when calls of other instances are settled, of which this one does not hear: it asks at least so often.
const LONGEST_WAIT_FOR_TOKENS: Duration = Duration::from_secs(1);

impl Shared {
    pub(super) async fn admit_by_fleet(&self, wanted: &Wanted) -> Admission {
        let id = Uuid::now_v7();
        match self.ask(id, wanted).await {
            Ok(Decision::Granted { place, tokens }) => {
                let grant = grant(id, wanted, place, tokens);
                self.local.adopt(&grant, &wanted.keys[place], wanted.lease);
                Admission::Granted(grant)
            }
            Ok(Decision::Young { until_old }) => {
                self.standing.is_young(&wanted.keys[0].provider, until_old);
                self.admit_by_both(wanted).await
            }
            Ok(Decision::Refused(obstacles)) => refusal(&obstacles),
            Err(Away) => self.local.admit_now(wanted),
        }
    }

    pub(super) async fn admit_by_both(&self, wanted: &Wanted) -> Admission {
        let obstacles = self.local.obstacles(wanted);
        let places: Vec<usize> = (0..obstacles.len())
            .filter(|place| obstacles[*place].is_none())
            .collect();
        if places.is_empty() {
            return refusal(&obstacles.into_iter().flatten().collect::<Vec<_>>());
        }
        let id = Uuid::now_v7();
        let narrowed = Wanted {
            keys: places.iter().map(|place| wanted.keys[*place].clone()).collect(),
            ..wanted.clone()
        };
        let mut decision = self.ask(id, &narrowed).await;
        if let Ok(Decision::Young { until_old }) = decision {
            self.standing.is_young(&wanted.keys[0].provider, until_old);
            decision = self.ask(id, &narrowed).await;
        }
        match decision {
            Ok(Decision::Granted { place, tokens }) => {
                let place = places[place];
                let grant = grant(id, wanted, place, tokens);
                if self.local.adopt_if_room(&grant, &wanted.keys[place], wanted.lease) {
                    return Admission::Granted(grant);
                }
                // Another call was faster.
                self.tell(&grant, LimitHints::default(), Some(CallEnd::NotMade)).await;
                ask_again_soon(ModelWaitingReason::Line)
            }
            Ok(Decision::Refused(by_fleet)) => {
                // Each key by whoever said no to it: that the provider takes none of them may be known in part here, in part there.
                let mut by_fleet = by_fleet.into_iter();
                let by_either = obstacles
                    .into_iter()
                    .filter_map(|here| here.or_else(|| by_fleet.next()));
                refusal(&by_either.collect::<Vec<_>>())
            }
            Ok(Decision::Young { .. }) => ask_again_soon(ModelWaitingReason::Line),
            Err(Away) => self.local.admit_now(wanted),
        }
    }
}

/// What the caller is told if these are in the way.
fn refusal(obstacles: &[Obstacle]) -> Admission {
    match Obstacle::refusal(obstacles) {
        Admission::NotYet { wait, reason } if reason == ModelWaitingReason::TokensPerMinute => Admission::NotYet {
            wait: wait.min(LONGEST_WAIT_FOR_TOKENS),
            reason,
        },
        refusal => refusal,
    }
}

fn ask_again_soon(reason: ModelWaitingReason) -> Admission {
    Admission::NotYet {
        wait: SHORT_WAIT,
        reason,
    }
}
