//! New runs of a thread.

use super::FreshThreads;
use super::fixtures::{
    ACCOUNT, MANY_TURNS, QUEUE, START, at_once, claim, claimed, entered, entering, moves, new_run, new_thread, parked,
    record, started, thread, waits,
};
use crate::ids::ThreadId;
use crate::ports::store::{Admission, Claim, Creation, Idempotency, NewRun};
use crate::ports::threads::{EnterThread, OnBusy, RunThread};
use crate::run_state::RunState;

/// Each thread counts for itself.
pub async fn runs_get_places_in_the_order_in_which_they_come(fresh: &FreshThreads) {
    let (one, other) = (thread(fresh).await, thread(fresh).await);
    for position in 1..4 {
        for thread in [one, other] {
            let run = started(&fresh.store, thread).await;
            let expected = Some(RunThread { id: thread, position });
            assert_eq!(run.thread, expected);
            assert_eq!(record(&fresh.store, run.id).await, run);
            moves(&fresh.store, run.id, RunState::Completed).await;
        }
    }
    let without = new_run(ACCOUNT, START);
    let id = without.id;
    assert_eq!(fresh.store.create_run(without).await, Ok(Creation::Created));
    assert_eq!(record(&fresh.store, id).await.thread, None);
}

/// A start is refused whatever the policy says: who must wait is to be queued.
pub async fn a_busy_thread_refuses_and_names_the_run(fresh: &FreshThreads) {
    let busy = thread(fresh).await;
    let active = started(&fresh.store, busy).await;
    waits(&fresh.store, busy).await;
    let refused = [
        entering(busy, OnBusy::Refuse, START),
        entering(busy, OnBusy::Refuse, QUEUE),
        entering(busy, OnBusy::Queue, START),
        entering(busy, OnBusy::Interrupt, START),
    ];
    for run in refused {
        let id = run.id;
        let answer = fresh.store.create_run(run).await;
        assert_eq!(answer, Ok(Creation::ThreadBusy { active: active.id }));
        assert_eq!(fresh.store.run(id).await, Ok(None), "it left no trace");
    }
    let recovered = fresh
        .store
        .recover(crate::ids::InstanceId::new())
        .await
        .expect("recovers");
    assert_eq!(recovered.to_cancel, []);
}

/// Nor one of another account.
pub async fn nothing_enters_a_thread_that_is_not_there(fresh: &FreshThreads) {
    let of_another = new_thread("beta");
    let id = of_another.id;
    fresh.threads.create_thread(of_another).await.expect("written");
    for thread in [ThreadId::new(), id] {
        for admission in [START, QUEUE] {
            let run = entering(thread, OnBusy::Queue, admission);
            assert_eq!(fresh.store.create_run(run).await, Ok(Creation::ThreadNotFound));
        }
    }
}

/// Neither a full thread nor its own policy stands in the way of the answer.
pub async fn the_same_request_is_one_run_and_displaces_nobody(fresh: &FreshThreads) {
    let thread = thread(fresh).await;
    let asked = |admission| NewRun {
        idempotency: Some(Idempotency {
            key: "once".into(),
            request_hash: [7; 32],
        }),
        ..entering(thread, OnBusy::Interrupt, admission)
    };
    let (first, _) = entered(&fresh.store, asked(START)).await;
    for admission in [START, QUEUE] {
        let again = fresh.store.create_run(asked(admission)).await;
        assert_eq!(again, Ok(Creation::Existing(Box::new(first.clone()))));
    }
    let recovered = fresh
        .store
        .recover(crate::ids::InstanceId::new())
        .await
        .expect("recovers");
    assert_eq!(recovered.to_cancel, []);
}

/// Before every run ahead of it has ended.
pub async fn a_run_that_may_not_begin_is_not_claimed(fresh: &FreshThreads) {
    let busy = thread(fresh).await;
    let active = started(&fresh.store, busy).await;
    let (second, third) = (waits(&fresh.store, busy).await, waits(&fresh.store, busy).await);
    for run in [second.id, third.id] {
        let answer = fresh.store.claim_run(claim(run, None)).await;
        assert_eq!(answer, Ok(Claim::ThreadBusy));
    }
    // One that is in no thread is not held up.
    let free = new_run(ACCOUNT, Admission::Queue { deadline: None });
    let id = free.id;
    assert_eq!(fresh.store.create_run(free).await, Ok(Creation::Created));
    claimed(&fresh.store, id).await;
    moves(&fresh.store, active.id, RunState::Completed).await;
    let answer = fresh.store.claim_run(claim(third.id, None)).await;
    assert_eq!(answer, Ok(Claim::ThreadBusy), "it is not the next");
    let second = claimed(&fresh.store, second.id).await;
    assert_eq!(second.thread.map(|thread| thread.position), Some(2));
    moves(&fresh.store, second.id, RunState::Failed).await;
    claimed(&fresh.store, third.id).await;
}

/// With the new run, and not with one that is refused; `replace` hides them, `interrupt` does not.
pub async fn interrupting_marks_those_before_it(fresh: &FreshThreads) {
    for (on_busy, seen) in [(OnBusy::Interrupt, 4), (OnBusy::Replace, 2)] {
        let busy = thread(fresh).await;
        let done = started(&fresh.store, busy).await;
        moves(&fresh.store, done.id, RunState::Completed).await;
        let active = started(&fresh.store, busy).await;
        let second = waits(&fresh.store, busy).await;
        let (new, displaced) = entered(&fresh.store, entering(busy, on_busy, QUEUE)).await;
        assert_eq!(displaced, [active.id, second.id]);
        assert_eq!(new.state, RunState::Queued);
        let recovered = fresh
            .store
            .recover(crate::ids::InstanceId::new())
            .await
            .expect("recovers");
        let mut marked = recovered.to_cancel;
        marked.sort_unstable();
        assert_eq!(marked, [active.id, second.id]);
        let active = record(&fresh.store, active.id).await;
        moves(&fresh.store, active.id, RunState::Cancelled).await;
        let cancelled = super::fixtures::parked(second.id, RunState::Cancelled);
        fresh.store.update_parked_run(cancelled).await.expect("cancels");
        let recovered = fresh
            .store
            .recover(crate::ids::InstanceId::new())
            .await
            .expect("recovers");
        assert_eq!(recovered.to_cancel, [], "they have ended");
        claimed(&fresh.store, new.id).await;
        let turns = fresh.threads.turns_before(busy, 100, MANY_TURNS).await.expect("reads");
        assert_eq!(turns.len(), seen, "{on_busy:?}");
        moves(&fresh.store, new.id, RunState::Completed).await;
    }
    // Of a thread that is free it is nothing special.
    let free = thread(fresh).await;
    let (_, displaced) = entered(&fresh.store, entering(free, OnBusy::Replace, START)).await;
    assert_eq!(displaced, []);
}

/// Although all before it have ended; and the new one does when it has ended too.
pub async fn a_marked_run_begins_no_more(fresh: &FreshThreads) {
    let store = &fresh.store;
    for first_waits in [false, true] {
        let busy = thread(fresh).await;
        let active = started(store, busy).await;
        let behind = waits(store, busy).await;
        if first_waits {
            moves(store, active.id, RunState::Waiting).await;
        }
        let (new, displaced) = entered(store, entering(busy, OnBusy::Interrupt, QUEUE)).await;
        assert_eq!(displaced, [active.id, behind.id]);
        if first_waits {
            // What it waited for comes before the cancel does.
            let resumed = store.update_parked_run(parked(active.id, RunState::Queued)).await;
            resumed.expect("moves");
            let answer = store.claim_run(claim(active.id, None)).await;
            assert_eq!(answer, Ok(Claim::ToBeCancelled));
            let cancelled = store.update_parked_run(parked(active.id, RunState::Cancelled)).await;
            cancelled.expect("cancels");
        } else {
            moves(store, active.id, RunState::Cancelled).await;
        }
        let answer = store.claim_run(claim(behind.id, None)).await;
        assert_eq!(answer, Ok(Claim::ToBeCancelled));
        let answer = store.claim_run(claim(new.id, None)).await;
        assert_eq!(answer, Ok(Claim::ThreadBusy));
        let cancelled = store.update_parked_run(parked(behind.id, RunState::Cancelled)).await;
        cancelled.expect("cancels");
        claimed(store, new.id).await;
    }
}

/// And at most one of them runs.
pub async fn many_at_once_get_one_place_each(fresh: &FreshThreads) {
    let thread = thread(fresh).await;
    let runs = (0..60).map(|number| {
        let store = fresh.store.clone();
        let (on_busy, admission) = match number % 4 {
            0 => (OnBusy::Refuse, START),
            1 => (OnBusy::Queue, QUEUE),
            2 => (OnBusy::Queue, START),
            _ => (OnBusy::Interrupt, QUEUE),
        };
        let run = NewRun {
            thread: Some(EnterThread { thread, on_busy }),
            ..new_run(ACCOUNT, admission)
        };
        async move { store.create_run(run).await.expect("the store answers") }
    });
    let mut positions = Vec::new();
    let mut running = 0;
    for outcome in at_once(runs).await {
        match outcome {
            Creation::InThread { record, .. } => {
                running += usize::from(record.state == RunState::Running);
                positions.extend(record.thread.map(|thread| thread.position));
            }
            Creation::ThreadBusy { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    positions.sort_unstable();
    assert!(positions.len() >= 30, "those that may wait do");
    assert!(
        positions.iter().copied().eq(1..=positions.len() as u64),
        "{positions:?}"
    );
    assert!(running <= 1);
}
