//! New runs: whole or not at all, within the limit, once per idempotency key.

use std::sync::Arc;

use super::fixtures::{
    at_once, change, claimed, commit, created, kinds, move_commit, no_items, picture, queued, record, running,
    running_runs, starting,
};
use crate::ports::Store;
use crate::ports::store::{Admission, Creation, Idempotency, NewRun, RunProgress, RunRecord};
use crate::run_state::RunState;
use crate::time::Timestamp;

/// What was written is what is read.
pub async fn a_new_run_reads_back_whole(store: Arc<dyn Store>) {
    let run = NewRun {
        reserved_seq: 500,
        ..starting("acme", Some(1))
    };
    let expected = RunRecord {
        id: run.id,
        account: run.account.clone(),
        tier: run.tier.clone(),
        state: RunState::Running,
        epoch: 1,
        spec: run.spec.clone(),
        thread: None,
        error: None,
        waiting: None,
        calls: Default::default(),
        progress: RunProgress::default(),
        next_seq: 1,
        reserved_seq: 500,
        created_at: run.created_at,
        started_at: Some(run.created_at),
        ended_at: None,
        queue_deadline: None,
        events_forgotten: false,
    };
    let (input, events) = (run.input.clone(), run.events.clone());
    assert_eq!(created(&store, run).await, expected);
    let (_, items, batches) = picture(&store, expected.id).await;
    assert_eq!(
        items,
        input
            .into_iter()
            .enumerate()
            .map(|(place, item)| (place as u32, item))
            .collect::<Vec<_>>()
    );
    assert_eq!(batches, [events]);
}

/// Neither a Slot nor an epoch, but a deadline; and an input may be empty.
pub async fn a_queued_run_takes_no_slot(store: Arc<dyn Store>) {
    let deadline = Some(Timestamp::from_micros(42));
    let run = NewRun {
        admission: Admission::Queue { deadline },
        input: Vec::new(),
        ..queued("acme")
    };
    let queued = created(&store, run).await;
    assert_eq!((queued.state, queued.epoch), (RunState::Queued, 0));
    assert_eq!((queued.queue_deadline, queued.started_at), (deadline, None));
    assert_eq!(kinds(&store, queued.id).await, ["run.created"]);
    created(&store, starting("acme", Some(1))).await;
}

/// Exactly as many as the limit says, however many come at once.
pub async fn a_thousand_parallel_creates_keep_the_limit(store: Arc<dyn Store>) {
    const LIMIT: u32 = 7;
    let creations = at_once((0..1000).map(|_| {
        let store = store.clone();
        async move { store.create_run(starting("acme", Some(LIMIT))).await }
    }))
    .await;
    let mut made = 0;
    for creation in creations {
        match creation.expect("the store answers") {
            Creation::Created => made += 1,
            other => assert_eq!(other, Creation::QuotaExceeded { running: LIMIT }),
        }
    }
    assert_eq!(made, LIMIT);
    assert_eq!(running_runs(&store, "acme").await, LIMIT as usize);
}

/// Accounts do not share Slots; a limit of zero lets nothing in; no limit lets all in.
pub async fn a_limit_of_one_account_is_not_that_of_another(store: Arc<dyn Store>) {
    created(&store, starting("acme", Some(1))).await;
    created(&store, starting("beta", Some(1))).await;
    let full = Ok(Creation::QuotaExceeded { running: 1 });
    assert_eq!(store.create_run(starting("acme", Some(1))).await, full);
    assert_eq!(store.create_run(starting("acme", Some(0))).await, full);
    let none = Ok(Creation::QuotaExceeded { running: 0 });
    assert_eq!(store.create_run(starting("gamma", Some(0))).await, none);
    created(&store, starting("acme", Some(2))).await;
    created(&store, starting("acme", None)).await;
    assert_eq!(running_runs(&store, "acme").await, 3);
}

fn keyed(account: &str, key: &str, request: u8) -> NewRun {
    NewRun {
        idempotency: Some(Idempotency {
            key: key.into(),
            request_hash: [request; 32],
        }),
        ..starting(account, None)
    }
}

/// The same key and request: the same run, as it is by then. Another request: a conflict. Another account: another key.
pub async fn the_same_request_is_one_run(store: Arc<dyn Store>) {
    let first = keyed("acme", "order 1", 1);
    let (account, idempotency) = (first.account.clone(), first.idempotency.clone().expect("a key"));
    assert_eq!(store.find_idempotent(&account, &idempotency).await, Ok(None));
    let first = created(&store, first).await;
    store
        .commit(move_commit(&first, RunState::Completed))
        .await
        .expect("ends");
    let first = record(&store, first.id).await;
    let existing = Creation::Existing(Box::new(first));
    assert_eq!(
        store.create_run(keyed("acme", "order 1", 1)).await,
        Ok(existing.clone())
    );
    assert_eq!(store.find_idempotent(&account, &idempotency).await, Ok(Some(existing)));
    let conflict = Creation::IdempotencyConflict;
    assert_eq!(
        store.create_run(keyed("acme", "order 1", 2)).await,
        Ok(conflict.clone())
    );
    let other = Idempotency {
        request_hash: [2; 32],
        ..idempotency
    };
    assert_eq!(store.find_idempotent(&account, &other).await, Ok(Some(conflict)));
    created(&store, keyed("beta", "order 1", 2)).await;
    created(&store, keyed("acme", "order 2", 1)).await;
    assert_eq!(running_runs(&store, "acme").await, 1);
}

/// Of many at once, one is created and the others are told of it.
pub async fn the_same_request_in_parallel_is_one_run(store: Arc<dyn Store>) {
    let creations = at_once((0..200).map(|_| {
        let store = store.clone();
        let run = keyed("acme", "once", 1);
        async move { (run.id, store.create_run(run).await.expect("the store answers")) }
    }))
    .await;
    let made: Vec<_> = creations
        .iter()
        .filter(|(_, creation)| *creation == Creation::Created)
        .map(|(id, _)| *id)
        .collect();
    assert_eq!(made.len(), 1);
    for (_, creation) in creations {
        if let Creation::Existing(record) = creation {
            assert_eq!(record.id, made[0]);
        }
    }
    assert_eq!(running_runs(&store, "acme").await, 1);
}

/// Asking again is answered, also when no Slot is free.
pub async fn an_earlier_request_wins_over_a_full_quota(store: Arc<dyn Store>) {
    let limited = |request| NewRun {
        admission: Admission::Start { slot_limit: Some(1) },
        ..keyed("acme", "only", request)
    };
    let first = created(&store, limited(1)).await;
    let again = store.create_run(limited(1)).await;
    assert_eq!(again, Ok(Creation::Existing(Box::new(first))));
    assert_eq!(store.create_run(limited(2)).await, Ok(Creation::IdempotencyConflict));
    // A refused run does not use up its key.
    let refused = NewRun {
        idempotency: keyed("acme", "later", 1).idempotency,
        ..limited(1)
    };
    let quota = Creation::QuotaExceeded { running: 1 };
    assert_eq!(store.create_run(refused).await, Ok(quota));
    created(&store, keyed("acme", "later", 2)).await;
}

/// Old keys are free for other requests; their runs stay.
pub async fn forgotten_keys_are_free_again(store: Arc<dyn Store>) {
    let at = |seconds: i64, run: NewRun| NewRun {
        created_at: Timestamp::from_micros(seconds * 1_000_000),
        ..run
    };
    let old = created(&store, at(100, keyed("acme", "old", 1))).await;
    created(&store, at(200, keyed("acme", "new", 1))).await;
    let limit = Timestamp::from_micros(200_000_000);
    assert_eq!(store.forget_idempotency_keys(limit).await, Ok(1));
    assert_eq!(store.forget_idempotency_keys(limit).await, Ok(0));
    created(&store, at(300, keyed("acme", "old", 2))).await;
    let kept = store.create_run(keyed("acme", "new", 2)).await;
    assert_eq!(kept, Ok(Creation::IdempotencyConflict));
    assert_eq!(record(&store, old.id).await, old);
}

/// Not a row of it: no record, no items, no events. And an id is used once.
pub async fn a_refused_run_leaves_no_trace(store: Arc<dyn Store>) {
    let first = running(&store, "acme").await;
    let refused = starting("acme", Some(1));
    let id = refused.id;
    store.create_run(refused).await.expect("the store answers");
    assert_eq!(store.run(id).await, Ok(None));
    assert_eq!(store.items(id, None, 10).await, Ok(no_items()));
    assert_eq!(store.events(id, None, 10_000).await, Ok(Vec::new()));

    let before = picture(&store, first.id).await;
    let twin = NewRun {
        id: first.id,
        ..queued("beta")
    };
    assert!(store.create_run(twin).await.is_err());
    assert_eq!(picture(&store, first.id).await, before);

    let mut handed_over = commit(&first);
    handed_over.change = Some(change(RunState::Queued));
    store.commit(handed_over).await.expect("handed over");
    claimed(&store, first.id).await;
}
