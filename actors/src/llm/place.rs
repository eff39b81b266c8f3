//! A call's places in the lines of all targets that may answer it: it goes where there is room first.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::select_all;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::grant::GrantHold;
use super::line::{CallLine, NoRoom, WaitNotice};
use crate::ids::AccountId;

/// A wait that is shorter than this is not worth an event.
const TELL_AFTER: Duration = Duration::from_millis(250);

/// A place in a line; dropping it leaves the line, and gives back what was granted and not taken.
pub(super) struct Place {
    line: Arc<CallLine>,
    account: AccountId,
    number: u64,
    answer: oneshot::Receiver<Result<GrantHold, NoRoom>>,
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
            number,
            answer,
        }
    }

    async fn room(&mut self) -> Result<GrantHold, NoRoom> {
        (&mut self.answer).await.unwrap_or(Err(NoRoom::Deadline))
    }

    fn notice(&self) -> WaitNotice {
        self.line.notice(&self.account, self.number)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.line.leave(&self.account, self.number);
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
    let notices = places.iter().map(|(_, place)| place.notice());
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
