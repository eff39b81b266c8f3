//! Coming in, decided against the account's locked row: start, wait, or be refused; and the end of a wait that took too long.

use callboard_actors::encoding::encode;
use callboard_actors::event::{EventBody, QueuedReason};
use callboard_actors::ports::StoreError;
use callboard_actors::ports::fleet::{Admitted, ExpiredRun, FleetAdmission, MayWait};
use callboard_actors::ports::store::{Admission, NewRun, ParkedOutcome, ParkedUpdate, StateChange};
use callboard_actors::run_state::RunState;
use callboard_actors::time::Timestamp;

use crate::store::postgres::decide::{Earlier, add, earlier, parked};
use crate::store::postgres::picture::Picture;
use crate::store::postgres::rows;
use crate::store::postgres::write::ExpireRun;

/// As [`Fleet::admit`](callboard_actors::ports::Fleet::admit).
pub(in crate::store::postgres) fn admit(
    admission: &FleetAdmission,
    picture: &mut Picture,
) -> Result<Admitted, StoreError> {
    if !picture.held_leases.contains(&admission.instance) {
        return Err(StoreError::Unavailable("the lease of this instance is over".into()));
    }
    match earlier(&admission.account, admission.idempotency.as_ref(), picture)? {
        Some(Earlier::Same(record)) => return Ok(Admitted::Existing(record)),
        Some(Earlier::Other) => return Ok(Admitted::IdempotencyConflict),
        None => {}
    }
    let counts = picture.account(&admission.account)?;
    let (running, ahead) = (counts.running, u64::try_from(counts.queued).unwrap_or(0));
    let has_slot = admission.slot_limit.is_none_or(|limit| running < limit);
    if admission.has_permit && has_slot && ahead == 0 {
        counts.slot_limit = admission.slot_limit;
        return start(admission, picture);
    }
    let room = |wait: &MayWait| wait.account_limit.is_none_or(|limit| ahead < limit);
    let Some(wait) = admission.may_wait.filter(room) else {
        return Ok(Admitted::Refused {
            has_slot,
            running,
            queued: ahead,
        });
    };
    counts.slot_limit = admission.slot_limit;
    let reason = if has_slot {
        QueuedReason::Capacity
    } else {
        QueuedReason::Quota
    };
    queue(admission, wait, ahead + 1, reason, picture)
}

fn start(admission: &FleetAdmission, picture: &mut Picture) -> Result<Admitted, StoreError> {
    let slot_limit = admission.slot_limit;
    let mut new = new_run(
        admission,
        Admission::Start { slot_limit },
        EventBody::RunStarted { epoch: 1 },
    )?;
    if admission.reserve_seqs > 0 {
        new.reserved_seq = new.events.last_seq() + 1 + admission.reserve_seqs;
    }
    Ok(Admitted::Started {
        record: Box::new(add(&new, picture)?),
        events: new.events,
    })
}

/// It is told its position with the first events, and not again before it has halved.
fn queue(
    admission: &FleetAdmission,
    wait: MayWait,
    position: u64,
    reason: QueuedReason,
    picture: &mut Picture,
) -> Result<Admitted, StoreError> {
    let now = now(picture)?;
    let deadline = wait.deadline.map(|deadline| now.after(deadline));
    let new = new_run(
        admission,
        Admission::Queue { deadline },
        EventBody::RunQueued { position, reason },
    )?;
    let record = Box::new(add(&new, picture)?);
    if let Some(row) = picture.runs.get_mut(&new.id).and_then(|row| row.new.as_mut()) {
        row.told = Some((i64::try_from(position).unwrap_or(i64::MAX), now.as_micros()));
    }
    Ok(Admitted::Queued {
        record,
        position,
        events: new.events,
    })
}

fn new_run(admission: &FleetAdmission, how: Admission, second: EventBody) -> Result<NewRun, StoreError> {
    let first = EventBody::RunCreated {
        spec: admission.spec.clone(),
    };
    Ok(NewRun {
        id: admission.id,
        account: admission.account.clone(),
        tier: admission.tier.clone(),
        instance: admission.instance,
        idempotency: admission.idempotency.clone(),
        spec: admission.spec.clone(),
        input: admission.input.clone(),
        admission: how,
        events: encode(admission.id, 0, [first, second]).ok_or_else(|| rows::damaged("an event"))?,
        reserved_seq: 0,
        created_at: admission.created_at,
    })
}

/// Fails a queued run whose deadline is over; `None` if it is not queued (any more) or has time.
pub(in crate::store::postgres) fn expire_queued(
    expire: &ExpireRun,
    picture: &mut Picture,
) -> Result<Option<Box<ExpiredRun>>, StoreError> {
    let now = now(picture)?;
    let record = picture.runs.get(&expire.run).map(|row| &row.record);
    let is_over = record.is_some_and(|record| {
        record.state == RunState::Queued && record.queue_deadline.is_some_and(|deadline| deadline <= now)
    });
    if !is_over {
        return Ok(None);
    }
    let change = StateChange {
        to: RunState::Failed,
        error: Some(expire.error.clone()),
        waiting: None,
        at: now,
    };
    let update = ParkedUpdate::moving(expire.run, Vec::new(), change);
    match parked(&update, picture)? {
        ParkedOutcome::Updated {
            record,
            events: Some(events),
        } => Ok(Some(Box::new(ExpiredRun {
            record: *record,
            events,
        }))),
        _ => Err(rows::damaged("the end of a run")),
    }
}

fn now(picture: &Picture) -> Result<Timestamp, StoreError> {
    picture.now.ok_or_else(|| rows::damaged("the time"))
}
