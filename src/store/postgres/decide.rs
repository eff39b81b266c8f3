//! What becomes of each write, decided against the rows that its batch has locked. A refusal changes nothing.

use callboard_actors::encoding::encode;
use callboard_actors::event::EventBody;
use callboard_actors::ids::{AccountId, RunId, ThreadId};
use callboard_actors::ports::store::{
    Admission, Claim, ClaimRun, Creation, Idempotency, NewRun, ParkedOutcome, ParkedUpdate, RunCommit, RunRecord,
};
use callboard_actors::ports::threads::{EnterThread, OnBusy, RunThread};
use callboard_actors::ports::{Parked, StoreError};
use callboard_actors::run_state::RunState;

use super::fleet::admission::{admit, expire_queued};
use super::picture::{NewRow, Picture, RunPicture};
use super::rows;
use super::write::{Answer, FailAbandonedRun, Write};

/// The place of new runs in their account's line, and of those that come before them.
const NEW_IN_LINE: i16 = 1;
const FIRST_IN_LINE: i16 = 0;

pub(super) fn decide(write: &Write, picture: &mut Picture) -> Result<Answer, StoreError> {
    let run = picture.runs.get(&write.run());
    if run.is_some_and(|run| run.is_damaged) && !write.ends() {
        return Err(rows::damaged("calls"));
    }
    match write {
        Write::Create(new) => create(new, picture).map(Answer::Creation),
        Write::Admit(admission) => admit(admission, picture).map(Answer::Admitted),
        Write::Claim(request) => claim(request, picture).map(Answer::Claim),
        Write::Commit(step) => commit(step, picture).map(|()| Answer::Committed),
        Write::Parked(update) => parked(update, picture).map(Answer::Parked),
        Write::FailAbandoned(fail) => fail_abandoned(fail, picture),
        Write::Expire(expire) => expire_queued(expire, picture).map(Answer::Expired),
    }
}

fn create(new: &NewRun, picture: &mut Picture) -> Result<Creation, StoreError> {
    match earlier(&new.account, new.idempotency.as_ref(), picture)? {
        Some(Earlier::Same(record)) => return Ok(Creation::Existing(record)),
        Some(Earlier::Other) => return Ok(Creation::IdempotencyConflict),
        None => {}
    }
    match look_at_thread(&new.account, new.thread, picture) {
        ThreadLook::NotFound => return Ok(Creation::ThreadNotFound),
        ThreadLook::Busy { active } => return Ok(Creation::ThreadBusy { active }),
        ThreadLook::Behind(ahead) if matches!(new.admission, Admission::Start { .. }) => {
            return Ok(Creation::ThreadBusy { active: ahead[0] });
        }
        ThreadLook::Behind(_) | ThreadLook::Free => {}
    }
    if let Admission::Start { slot_limit } = new.admission {
        let running = picture.running(&new.account);
        if slot_limit.is_some_and(|limit| running >= limit) {
            return Ok(Creation::QuotaExceeded { running });
        }
    }
    let Added { record, displaced } = add(new, picture)?;
    Ok(match record.thread {
        None => Creation::Created,
        Some(_) => Creation::InThread {
            record: Box::new(record),
            displaced,
        },
    })
}

/// What a new run finds in its thread.
pub(super) enum ThreadLook {
    /// It may begin at once; also if it is in no thread.
    Free,
    /// It may wait for these, which have not ended: at least one.
    Behind(Vec<RunId>),
    /// It may not wait for this one.
    Busy { active: RunId },
    /// There is none, or it is another account's.
    NotFound,
}

pub(super) fn look_at_thread(account: &AccountId, enter: Option<EnterThread>, picture: &Picture) -> ThreadLook {
    let Some(enter) = enter else { return ThreadLook::Free };
    if picture
        .threads
        .get(&enter.thread)
        .is_none_or(|thread| thread.account != *account)
    {
        return ThreadLook::NotFound;
    }
    let ahead = picture.without_end(enter.thread);
    match ahead.first() {
        None => ThreadLook::Free,
        Some(active) if enter.on_busy == OnBusy::Refuse => ThreadLook::Busy { active: *active },
        Some(_) => ThreadLook::Behind(ahead),
    }
}

/// A run that came with the same idempotency key.
pub(super) enum Earlier {
    /// For the same request.
    Same(Box<RunRecord>),
    /// For another.
    Other,
}

pub(super) fn earlier(
    account: &AccountId,
    idempotency: Option<&Idempotency>,
    picture: &Picture,
) -> Result<Option<Earlier>, StoreError> {
    let Some(idempotency) = idempotency else {
        return Ok(None);
    };
    let key = (account.clone(), idempotency.key.clone());
    let Some((request_hash, run)) = picture.idempotency.get(&key) else {
        return Ok(None);
    };
    if *request_hash != idempotency.request_hash {
        return Ok(Some(Earlier::Other));
    }
    let earlier = picture.runs.get(run).ok_or_else(|| rows::damaged("an earlier run"))?;
    Ok(Some(Earlier::Same(Box::new(earlier.record.clone()))))
}

/// A run that came in.
pub(super) struct Added {
    pub(super) record: RunRecord,
    /// Runs of its thread that are to be cancelled for it.
    pub(super) displaced: Vec<RunId>,
}

/// Adds a run that may come in.
pub(super) fn add(new: &NewRun, picture: &mut Picture) -> Result<Added, StoreError> {
    if picture.runs.contains_key(&new.id) {
        return Err(StoreError::Damaged(format!("{} is already there", new.id)));
    }
    let mut record = new.record();
    let ahead = new
        .thread
        .map(|enter| picture.without_end(enter.thread))
        .unwrap_or_default();
    let held = !ahead.is_empty();
    if let Some(enter) = new.thread {
        record.thread = Some(take_place(enter.thread, picture)?);
    }
    let displaced = match new.thread {
        Some(enter) if enter.on_busy.displaces() => ahead,
        _ => Vec::new(),
    };
    let hides = new.thread.is_some_and(|enter| enter.on_busy == OnBusy::Replace);
    for run in &displaced {
        if let Some(row) = picture.runs.get_mut(run) {
            row.cancel_requested = true;
            row.hidden |= hides;
            row.changed = true;
        }
    }
    picture.count(&new.account, None, record.state, held)?;
    let counts = picture.account(&new.account)?;
    let place = counts.next_place;
    counts.next_place += 1;
    let row = RunPicture {
        record: record.clone(),
        instance: new.instance,
        next_item: 0,
        line: NEW_IN_LINE,
        place,
        cancel_requested: false,
        held,
        hidden: false,
        is_damaged: false,
        new: Some(NewRow {
            idempotency: new.idempotency.clone(),
            told: None,
        }),
        changed: true,
    };
    picture.runs.insert(new.id, row);
    picture.append_items(new.id, &new.input)?;
    picture.append_events(new.id, new.events.clone());
    if let Some(idempotency) = &new.idempotency {
        let key = (new.account.clone(), idempotency.key.clone());
        picture.idempotency.insert(key, (idempotency.request_hash, new.id));
    }
    Ok(Added { record, displaced })
}

/// The next place in a thread.
fn take_place(thread: ThreadId, picture: &mut Picture) -> Result<RunThread, StoreError> {
    let row = picture
        .threads
        .get_mut(&thread)
        .ok_or_else(|| rows::damaged("a thread"))?;
    let position = row.next_position;
    row.next_position += 1;
    row.changed = true;
    Ok(RunThread { id: thread, position })
}

pub(super) fn claim(request: &ClaimRun, picture: &mut Picture) -> Result<Claim, StoreError> {
    let is_queued = |row: &&RunPicture| row.record.state == RunState::Queued;
    let Some(row) = picture.runs.get(&request.run).filter(is_queued) else {
        return Ok(Claim::NotQueued);
    };
    if row.held {
        return Ok(Claim::ThreadBusy);
    }
    // (One in no thread is claimed and then cancelled: nobody waits behind it.)
    if row.cancel_requested && row.record.thread.is_some() {
        return Ok(Claim::ToBeCancelled);
    }
    let record = &row.record;
    let (account, seq, epoch) = (record.account.clone(), record.first_free_seq(), record.epoch + 1);
    let running = picture.running(&account);
    if request.slot_limit.is_some_and(|limit| running >= limit) {
        return Ok(Claim::QuotaExceeded { running });
    }
    let events =
        encode(request.run, seq, [EventBody::RunStarted { epoch }]).ok_or_else(|| rows::damaged("an event"))?;
    picture.count(&account, Some(RunState::Queued), RunState::Running, false)?;
    picture.append_events(request.run, events.clone());
    let row = changing(picture, request)?;
    row.instance = request.instance;
    let record = &mut row.record;
    record.state = RunState::Running;
    record.epoch = epoch;
    record.waiting = None;
    record.queue_deadline = None;
    record.started_at = record.started_at.or(Some(request.at));
    record.next_seq = seq + 1;
    record.reserved_seq = match request.reserve_seqs {
        0 => 0,
        reserve => seq + 1 + reserve,
    };
    Ok(Claim::Claimed {
        record: Box::new(record.clone()),
        events,
    })
}

fn changing<'a>(picture: &'a mut Picture, request: &ClaimRun) -> Result<&'a mut RunPicture, StoreError> {
    let row = picture
        .runs
        .get_mut(&request.run)
        .ok_or_else(|| rows::damaged("a run"))?;
    row.changed = true;
    Ok(row)
}

fn commit(step: &RunCommit, picture: &mut Picture) -> Result<(), StoreError> {
    step.check()?;
    let record = &picture.runs.get(&step.run).ok_or(StoreError::Fenced)?.record;
    if record.state != RunState::Running || record.epoch != step.epoch {
        return Err(StoreError::Fenced);
    }
    let fits = |first| first == record.next_seq || first == record.first_free_seq();
    if !step.events.as_ref().is_none_or(|events| fits(events.first_seq())) {
        return Err(StoreError::Fenced);
    }
    if let Some(change) = &step.change {
        let account = record.account.clone();
        picture.count(&account, Some(RunState::Running), change.to, false)?;
    }
    let row = picture.runs.get_mut(&step.run).ok_or(StoreError::Fenced)?;
    let record = &mut row.record;
    if let Some(events) = &step.events {
        record.next_seq = events.last_seq() + 1;
    }
    // Without events, what was reserved before stays reserved.
    if step.events.is_some() || step.reserved_seq > 0 {
        record.reserved_seq = step.reserved_seq;
    }
    if let Some(progress) = step.progress {
        record.progress = progress;
    }
    if let Some(calls) = &step.calls {
        record.calls.clone_from(calls);
    }
    row.changed = true;
    // The row's account pays, whatever the commit says.
    let account = record.account.clone();
    if let Some(change) = &step.change {
        record.apply(change);
        row.line = FIRST_IN_LINE;
    }
    picture.let_next_of_thread_in(step.run)?;
    for charge in &step.charges {
        picture.charges.push((step.run, account.clone(), charge.clone()));
    }
    if let Some(events) = &step.events {
        picture.append_events(step.run, events.clone());
    }
    picture.append_items(step.run, &step.items)
}

pub(super) fn parked(update: &ParkedUpdate, picture: &mut Picture) -> Result<ParkedOutcome, StoreError> {
    let Some(row) = picture.runs.get(&update.run) else {
        return Ok(ParkedOutcome::NotFound);
    };
    if !row.record.is_parked() {
        return Ok(ParkedOutcome::NotParked(Box::new(row.record.clone())));
    }
    let (from, held) = (row.record.state, row.held);
    let mut record = row.record.clone();
    let (events, items, change) = match update.apply_to(&mut record)? {
        Parked::Changed { events, items, change } => (events, items, change),
        Parked::Refused(problem) => return Ok(ParkedOutcome::Refused(problem)),
        Parked::NotWaiting => return Ok(ParkedOutcome::NotParked(Box::new(record))),
    };
    if change.is_none() && events.is_none() {
        return Ok(ParkedOutcome::Updated {
            record: Box::new(record),
            events,
        });
    }
    if let Some(change) = &change {
        picture.count(&record.account, Some(from), change.to, held)?;
    }
    if let Some(row) = picture.runs.get_mut(&update.run) {
        row.record.clone_from(&record);
        row.changed = true;
        if change.is_some() {
            row.line = FIRST_IN_LINE;
            row.held = false;
        }
    }
    if change.is_some() {
        picture.let_next_of_thread_in(update.run)?;
    }
    if let Some(events) = &events {
        picture.append_events(update.run, events.clone());
    }
    picture.append_items(update.run, &items)?;
    Ok(ParkedOutcome::Updated {
        record: Box::new(record),
        events,
    })
}

fn fail_abandoned(fail: &FailAbandonedRun, picture: &mut Picture) -> Result<Answer, StoreError> {
    let owned = |row: &&RunPicture| row.record.state == RunState::Running && row.record.epoch == fail.epoch;
    let Some(row) = picture.runs.get(&fail.run).filter(owned) else {
        return Ok(Answer::Abandoned(None));
    };
    let account = row.record.account.clone();
    let events = row.record.abandoned_events(&fail.error)?;
    picture.count(&account, Some(RunState::Running), RunState::Failed, false)?;
    let row = picture.runs.get_mut(&fail.run).ok_or_else(|| rows::damaged("a run"))?;
    let record = &mut row.record;
    record.state = RunState::Failed;
    record.error = Some(fail.error.clone());
    record.ended_at = Some(fail.at);
    record.epoch += 1;
    record.next_seq = events.last_seq() + 1;
    record.reserved_seq = 0;
    row.changed = true;
    picture.let_next_of_thread_in(fail.run)?;
    picture.append_events(fail.run, events.clone());
    picture.abandoned.push(fail.run);
    Ok(Answer::Abandoned(Some(events)))
}
