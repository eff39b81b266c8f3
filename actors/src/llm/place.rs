//! A call's places in the lines of all targets that may answer it: it goes where there is room first.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::select_all;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::grant::GrantHold;
use super::line::{CallLine, NoRoom, WaitNotice};
use super::route::Provider;
use crate::ids::AccountId;
use crate::ports::rate_limits::Wanted;

/// A wait that is shorter than this is not worth an event.
const TELL_AFTER: Duration = Duration::from_millis(250);

/// A place in a line, now or later; dropping it leaves the line, and gives back what was granted and not taken.
pub(super) struct Place {
    line: Arc<CallLine>,
    account: AccountId,
    standing: Standing,
}

enum Standing {
    /// Its target is to be left alone until then.
    Later {
        at: Instant,
        provider: Arc<Provider>,
        wanted: Wanted,
        deadline: Instant,
    },
    InLine {
        number: u64,
        answer: oneshot::Receiver<Result<GrantHold, NoRoom>>,
    },
}

impl Place {
    pub(super) const fn new(
        line: Arc<CallLine>,
        account: AccountId,
        number: u64,
        answer: oneshot::Receiver<Result<GrantHold, NoRoom>>,
    ) -> Self {
        Self {
            line,
            account,
            standing: Standing::InLine { number, answer },
        }
    }

    /// One that is taken at `at`, if it is waited for.
    pub(super) const fn later(
        line: Arc<CallLine>,
        account: AccountId,
        provider: Arc<Provider>,
        wanted: Wanted,
        at: Instant,
        deadline: Instant,
    ) -> Self {
        let standing = Standing::Later {
            at,
            provider,
            wanted,
            deadline,
        };
        Self {
            line,
            account,
            standing,
        }
    }

    async fn room(&mut self) -> Result<GrantHold, NoRoom> {
        loop {
            match &mut self.standing {
                Standing::InLine { answer, .. } => return answer.await.unwrap_or(Err(NoRoom::Deadline)),
                Standing::Later {
                    at,
                    provider,
                    wanted,
                    deadline,
                } => {
                    sleep_until(*at).await;
                    let wanted = wanted.clone();
                    *self = self.line.stand_in_line(&self.account, provider, wanted, *deadline)?;
                }
            }
        }
    }

    fn notice(&self) -> Option<WaitNotice> {
        match self.standing {
            Standing::InLine { number, .. } => Some(self.line.notice(&self.account, number)),
            Standing::Later { .. } => None,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Standing::InLine { number, .. } = self.standing {
            self.line.leave(&self.account, number);
        }
    }
}

/// Waits until there is room at one of these places, and says at which: each has the number of its target. The others are given up. `tell` is
/// called once, if the wait is worth it.
pub(super) async fn first_room<Telling>(
    mut places: Vec<(usize, Place)>,
    deadline: Instant,
    tell: impl FnOnce(WaitNotice) -> Telling,
) -> Result<(usize, GrantHold), NoRoom>
where
    Telling: Future<Output = ()>,
{
    let tell_at = deadline.min(Instant::now() + TELL_AFTER);
    if let Ok(answer) = timeout_at(tell_at, room_at_any(&mut places)).await {
        return answer;
    }
    let notices = places.iter().filter_map(|(_, place)| place.notice());
    if let Some(soonest) = notices.min_by_key(|notice| notice.estimate) {
        tell(soonest).await;
    }
    let answer = timeout_at(deadline, room_at_any(&mut places)).await;
    answer.unwrap_or(Err(NoRoom::Deadline))
}

/// Places at which there will be no room are given up; the last one says why.
async fn room_at_any(places: &mut Vec<(usize, Place)>) -> Result<(usize, GrantHold), NoRoom> {
    loop {
        let answers = places.iter_mut().map(|(_, place)| place.room().boxed());
        let (answer, at, _) = select_all(answers).await;
        let (target, _) = places.remove(at);
        match answer {
            Ok(grant) => return Ok((target, grant)),
            Err(no_room) if places.is_empty() => return Err(no_room),
            Err(_) => {}
        }
    }
}
