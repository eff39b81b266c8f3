//! Claims: one winner, one Slot, one event.

use std::sync::Arc;

use super::fixtures::{
    at_once, claim, claimed, created, kinds, move_commit, picture, queued, record, running, running_runs, starting,
};
use crate::encoding::encode;
use crate::event::EventBody;
use crate::ids::RunId;
use crate::ports::Store;
use crate::ports::store::{Admission, Claim, ClaimRun, NewRun, RunCommit};
use crate::run_state::RunState;
use crate::time::Timestamp;

/// `running`, epoch + 1, `run.started` written and handed out; the first start is kept over later ones.
pub async fn a_claim_moves_the_run_and_tells_its_log(store: Arc<dyn Store>) {
    let deadline = Some(Timestamp::from_micros(7));
    let run = NewRun {
        admission: Admission::Queue { deadline },
        ..queued("acme")
    };
    let id = created(&store, run).await.id;
    let first = claim(id, Some(1));
    let Ok(Claim::Claimed { record: one, events }) = store.claim_run(first.clone()).await else {
        panic!("not claimed");
    };
    assert_eq!((one.state, one.epoch, one.next_seq), (RunState::Running, 1, 2));
    assert_eq!((one.reserved_seq, one.started_at), (0, Some(first.at)));
    assert_eq!(one.queue_deadline, None, "it has started");
    assert_eq!(record(&store, id).await, *one);
    assert_eq!(store.events(id, Some(0), 10_000).await, Ok(vec![events.clone()]));
    let event = &events.events().expect("decodes")[0];
    assert_eq!((event.seq, &event.body), (1, &EventBody::RunStarted { epoch: 1 }));

    store
        .commit(move_commit(&one, RunState::Queued))
        .await
        .expect("handed over");
    let again = claimed(&store, id).await;
    assert_eq!((again.epoch, again.started_at), (2, Some(first.at)));
    assert_eq!(kinds(&store, id).await, ["run.created", "run.started", "run.started"]);
}

/// The run stays as it is, and can be claimed when a Slot is free.
pub async fn a_claim_without_a_slot_changes_nothing(store: Arc<dyn Store>) {
    let holder = created(&store, starting("acme", Some(1))).await;
    let waiting = created(&store, queued("acme")).await;
    let before = picture(&store, waiting.id).await;
    let full = Ok(Claim::QuotaExceeded { running: 1 });
    assert_eq!(store.claim_run(claim(waiting.id, Some(1))).await, full);
    assert_eq!(picture(&store, waiting.id).await, before);
    store
        .commit(move_commit(&holder, RunState::Completed))
        .await
        .expect("ends");
    let free = store.claim_run(claim(waiting.id, Some(1))).await;
    assert!(matches!(free, Ok(Claim::Claimed { .. })));
}

/// Not running ones, not ended ones, not waiting ones, not ones that do not exist.
pub async fn only_queued_runs_can_be_claimed(store: Arc<dyn Store>) {
    let run = running(&store, "acme").await;
    let unknown = store.claim_run(claim(RunId::new(), None)).await;
    assert_eq!(unknown, Ok(Claim::NotQueued));
    for state in [RunState::Running, RunState::Waiting, RunState::Failed] {
        if state == RunState::Waiting {
            store.commit(move_commit(&run, state)).await.expect("waits");
        }
        if state == RunState::Failed {
            let update = super::fixtures::parked(run.id, state);
            store.update_parked_run(update).await.expect("fails");
        }
        let before = picture(&store, run.id).await;
        assert_eq!(before.0.state, state);
        assert_eq!(store.claim_run(claim(run.id, Some(0))).await, Ok(Claim::NotQueued));
        assert_eq!(picture(&store, run.id).await, before);
    }
}

/// One owner.
pub async fn one_of_many_parallel_claims_wins(store: Arc<dyn Store>) {
    let id = created(&store, queued("acme")).await.id;
    let claims = at_once((0..100).map(|_| {
        let store = store.clone();
        async move { store.claim_run(claim(id, Some(5))).await.expect("the store answers") }
    }))
    .await;
    let won = claims
        .iter()
        .filter(|claim| matches!(claim, Claim::Claimed { .. }))
        .count();
    assert_eq!(won, 1);
    assert!(
        claims
            .iter()
            .all(|claim| matches!(claim, Claim::Claimed { .. } | Claim::NotQueued))
    );
    assert_eq!(kinds(&store, id).await, ["run.created", "run.started"]);
}

/// Claims and creates draw on the same Slots.
pub async fn parallel_claims_keep_the_limit(store: Arc<dyn Store>) {
    const LIMIT: u32 = 5;
    let mut runs = Vec::new();
    for _ in 0..50 {
        runs.push(created(&store, queued("acme")).await.id);
    }
    let won = at_once(runs.into_iter().map(|id| {
        let store = store.clone();
        async move {
            let claim = store.claim_run(claim(id, Some(LIMIT))).await;
            let create = store.create_run(starting("acme", Some(LIMIT))).await;
            let claimed = matches!(claim.expect("the store answers"), Claim::Claimed { .. });
            let created = create.expect("the store answers") == crate::ports::store::Creation::Created;
            u32::from(claimed) + u32::from(created)
        }
    }))
    .await;
    assert_eq!(won.into_iter().sum::<u32>(), LIMIT);
    assert_eq!(running_runs(&store, "acme").await, LIMIT as usize);
}

/// Reserved seqs count from the seq after `run.started`, which itself is above all that was reserved before.
pub async fn a_claim_reserves_seqs(store: Arc<dyn Store>) {
    let id = created(&store, queued("acme")).await.id;
    let reserving = ClaimRun {
        reserve_seqs: 100,
        ..claim(id, None)
    };
    let Ok(Claim::Claimed { record: one, .. }) = store.claim_run(reserving).await else {
        panic!("not claimed");
    };
    assert_eq!((one.next_seq, one.reserved_seq), (2, 102));
    // Handed over without a word: what was reserved may have been seen, and stays reserved.
    let leave = RunCommit {
        events: None,
        ..move_commit(&one, RunState::Queued)
    };
    store.commit(leave).await.expect("handed over");
    let two = claimed(&store, id).await;
    assert_eq!((two.next_seq, two.reserved_seq), (103, 0));
    let stored = store.events(id, Some(1), 10_000).await.expect("the store answers");
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].first_seq(), 102);
    // And a handover that says so gives the reservation up.
    let event = EventBody::RunStarted { epoch: 9 };
    let leave = RunCommit {
        events: encode(id, two.next_seq, [event]),
        ..move_commit(&two, RunState::Queued)
    };
    store.commit(leave).await.expect("handed over");
    assert_eq!(claimed(&store, id).await.next_seq, 105);
}
