//! Writes for running runs: whole, under the right epoch, at the right seq, by legal moves, one ending.

use std::sync::Arc;

use super::fixtures::{
    at_once, change, claimed, commit, created, delta_commit, deltas, kinds, move_commit, picture, queued, record,
    running, running_runs, starting,
};
use crate::encoding::encode;
use crate::event::EventBody;
use crate::ids::RunId;
use crate::item::{Item, Role, Usage};
use crate::money::Money;
use crate::ports::Store;
use crate::ports::StoreError;
use crate::ports::store::{NewRun, RunCommit, RunProgress, RunRecord};
use crate::run_state::RunState;

/// Events, items, progress and the move: all of it is there, in order, after what was there.
pub async fn a_commit_writes_all_its_parts(store: Arc<dyn Store>) {
    let run = running(&store, "acme").await;
    let answer = |text: &str| Item::message(Role::Assistant, text);
    let items = [answer("one"), answer("two \u{0} \"quoted\" \\ü"), answer("three")];
    let progress = RunProgress {
        steps: 2,
        usage: Usage {
            cached_input_tokens: 5,
            cache_write_input_tokens: 8,
            reasoning_tokens: 6,
            ..Usage::of(1 << 40, 7)
        },
        cost: Money::from_nanos(1 << 50),
    };
    let step = RunCommit {
        items: items[..2].to_vec(),
        progress: Some(progress),
        reserved_seq: 900,
        ..delta_commit(&run, 3)
    };
    store.commit(step).await.expect("written");
    let after = record(&store, run.id).await;
    let expected = RunRecord {
        next_seq: 4,
        reserved_seq: 900,
        progress,
        ..run.clone()
    };
    assert_eq!(after, expected);

    // Items alone, progress alone, and nothing at all change nothing else.
    let item_only = RunCommit {
        items: items[2..].to_vec(),
        ..commit(&run)
    };
    store.commit(item_only).await.expect("written");
    let more = RunProgress { steps: 3, ..progress };
    let progress_only = RunCommit {
        progress: Some(more),
        ..commit(&run)
    };
    store.commit(progress_only).await.expect("written");
    store.commit(commit(&run)).await.expect("written");
    let (after, stored, _) = picture(&store, run.id).await;
    assert_eq!(
        after,
        RunRecord {
            progress: more,
            ..expected
        }
    );
    let answers: Vec<Item> = stored.into_iter().skip(1).map(|(_, item)| item).collect();
    assert_eq!(answers, items);

    let end = RunCommit {
        events: encode(
            run.id,
            4,
            [EventBody::RunFailed {
                error: crate::error::RunError::internal(),
                usage: more.usage,
            }],
        ),
        change: Some(change(RunState::Failed)),
        items: vec![answer("last")],
        ..commit(&run)
    };
    let ended_at = end.change.as_ref().map(|change| change.at);
    store.commit(end).await.expect("ended");
    let (ended, stored, _) = picture(&store, run.id).await;
    assert_eq!((ended.state, ended.ended_at), (RunState::Failed, ended_at));
    assert_eq!(
        (ended.error, ended.progress, ended.next_seq),
        (Some(crate::error::RunError::internal()), more, 5)
    );
    assert_eq!(stored.len(), 5);
    assert_eq!(
        stored.iter().map(|(place, _)| *place).collect::<Vec<_>>(),
        [0, 1, 2, 3, 4]
    );
}

async fn assert_fenced(store: &Arc<dyn Store>, commit: RunCommit, why: &str) {
    let run = commit.run;
    let before = store.run(run).await.expect("the store answers");
    let mut everything = commit;
    everything.items.push(Item::message(Role::Assistant, "never"));
    everything.progress = Some(RunProgress {
        steps: 99,
        usage: Usage::default(),
        cost: Money::ZERO,
    });
    let deltas_only = RunCommit {
        items: Vec::new(),
        progress: None,
        change: None,
        ..everything.clone()
    };
    for commit in [everything, deltas_only] {
        let picture_before = match &before {
            Some(_) => Some(picture(store, run).await),
            None => None,
        };
        // Without its change, an ending would be refused for that.
        let ending = commit.change.is_none()
            && commit
                .events
                .as_ref()
                .is_some_and(crate::encoding::EncodedEvents::is_terminal);
        if !ending {
            assert_eq!(store.commit(commit).await, Err(StoreError::Fenced), "{why}");
        }
        if let Some(picture_before) = picture_before {
            assert_eq!(picture(store, run).await, picture_before, "{why}");
        }
    }
}

/// Older and newer epochs alike.
pub async fn a_stale_epoch_is_refused_whole(store: Arc<dyn Store>) {
    let id = created(&store, queued("acme")).await.id;
    let old = claimed(&store, id).await;
    store
        .commit(move_commit(&old, RunState::Queued))
        .await
        .expect("handed over");
    let new = claimed(&store, id).await;
    for epoch in [0, old.epoch, new.epoch + 1, u64::MAX] {
        let stale = RunRecord { epoch, ..new.clone() };
        assert_fenced(&store, delta_commit(&stale, 2), "a delta under another epoch").await;
        assert_fenced(
            &store,
            move_commit(&stale, RunState::Completed),
            "an ending under another epoch",
        )
        .await;
        assert_fenced(
            &store,
            move_commit(&stale, RunState::Queued),
            "a handover under another epoch",
        )
        .await;
        assert_fenced(&store, commit(&stale), "items under another epoch").await;
    }
    store.commit(delta_commit(&new, 2)).await.expect("the owner goes on");
}

/// Before, behind, and the same events again.
pub async fn a_wrong_seq_is_refused_whole(store: Arc<dyn Store>) {
    let run = running(&store, "acme").await;
    store.commit(delta_commit(&run, 4)).await.expect("written");
    let run = record(&store, run.id).await;
    for first_seq in [0, 1, 4, 6, 1000] {
        let wrong = RunCommit {
            events: Some(deltas(run.id, first_seq, 2)),
            ..commit(&run)
        };
        assert_fenced(&store, wrong, "events that do not continue the log").await;
    }
    store.commit(delta_commit(&run, 1)).await.expect("the right one");
}

/// Queued, waiting, ended, unknown.
pub async fn a_run_that_is_not_running_is_refused(store: Arc<dyn Store>) {
    let waiting = created(&store, queued("acme")).await;
    assert_fenced(&store, delta_commit(&waiting, 1), "a queued run").await;
    for state in [
        RunState::Waiting,
        RunState::Queued,
        RunState::Completed,
        RunState::Failed,
        RunState::Cancelled,
    ] {
        let run = running(&store, "acme").await;
        store.commit(move_commit(&run, state)).await.expect("moves");
        let run = record(&store, run.id).await;
        assert_eq!(run.state, state);
        assert_fenced(&store, delta_commit(&run, 1), "deltas for a run that left").await;
        assert_fenced(
            &store,
            move_commit(&run, RunState::Completed),
            "an ending for a run that left",
        )
        .await;
    }
    let unknown = RunRecord {
        id: RunId::new(),
        ..waiting
    };
    assert_fenced(&store, delta_commit(&unknown, 1), "an unknown run").await;
}

/// `running` to `running` is no move.
pub async fn illegal_moves_are_refused(store: Arc<dyn Store>) {
    let run = running(&store, "acme").await;
    let before = picture(&store, run.id).await;
    let refused = store.commit(move_commit(&run, RunState::Running)).await;
    let from = RunState::Running;
    assert_eq!(refused, Err(StoreError::IllegalMove { from, to: from }));
    assert_eq!(picture(&store, run.id).await, before);
}

/// No ending without its event, no such event without its ending, no other event than that of the state, no second ending.
pub async fn the_end_and_its_event_come_together_and_once(store: Arc<dyn Store>) {
    let run = running(&store, "acme").await;
    let before = picture(&store, run.id).await;
    let ending = move_commit(&run, RunState::Completed);
    let halves = [
        RunCommit {
            events: None,
            ..ending.clone()
        },
        RunCommit {
            change: None,
            ..ending.clone()
        },
        RunCommit {
            change: Some(change(RunState::Cancelled)),
            ..ending.clone()
        },
        RunCommit {
            change: Some(change(RunState::Queued)),
            ..ending.clone()
        },
        RunCommit {
            events: Some(deltas(run.id, 1, 1)),
            ..ending.clone()
        },
    ];
    for half in halves {
        assert!(store.commit(half).await.is_err());
        assert_eq!(picture(&store, run.id).await, before);
    }
    let ends = [RunState::Completed, RunState::Failed, RunState::Cancelled];
    let endings = at_once((0..60).map(|index| {
        let store = store.clone();
        let ending = move_commit(&run, ends[index % ends.len()]);
        async move { store.commit(ending).await }
    }))
    .await;
    assert_eq!(endings.iter().filter(|ending| ending.is_ok()).count(), 1);
    assert!(
        endings
            .into_iter()
            .all(|ending| matches!(ending, Ok(()) | Err(StoreError::Fenced)))
    );
    let ended = record(&store, run.id).await;
    assert_eq!(kinds(&store, run.id).await[1], format!("run.{}", ended.state));
}

/// Good and bad writes at once: all the good ones are whole, the bad ones leave nothing.
pub async fn refused_writes_do_not_disturb_their_neighbours(store: Arc<dyn Store>) {
    created(&store, starting("full", Some(1))).await;
    let mut runs = Vec::new();
    for _ in 0..20 {
        runs.push(running(&store, "acme").await);
    }
    let outcomes = at_once((0..400).map(|index| {
        let store = store.clone();
        let run = runs[index % runs.len()].clone();
        async move {
            match (index / 20) % 5 {
                0 if index < 100 => {
                    let item = Item::message(Role::Assistant, "kept");
                    let good = RunCommit {
                        items: vec![item],
                        ..delta_commit(&run, 3)
                    };
                    store.commit(good).await.map(|()| true)
                }
                0 | 1 => store
                    .commit(RunCommit {
                        epoch: 77,
                        ..delta_commit(&run, 3)
                    })
                    .await
                    .map(|()| true),
                2 => store.create_run(starting("full", Some(1))).await.map(|_| false),
                3 => store
                    .create_run(NewRun {
                        id: run.id,
                        ..queued("twin")
                    })
                    .await
                    .map(|_| true),
                _ => store.commit(move_commit(&run, RunState::Running)).await.map(|()| true),
            }
        }
    }))
    .await;
    assert_eq!(
        outcomes.iter().filter(|outcome| **outcome == Ok(true)).count(),
        runs.len()
    );
    assert_eq!(running_runs(&store, "full").await, 1);
    for run in runs {
        let (after, items, batches) = picture(&store, run.id).await;
        assert_eq!((after.next_seq, items.len(), batches.len()), (4, 2, 2));
        kinds(&store, run.id).await;
    }
}

/// After a crash: events go on at `next_seq` or above all that was reserved, and nowhere in between.
pub async fn reserved_seqs_may_be_left_out(store: Arc<dyn Store>) {
    let reserving = |reserved_seq| NewRun {
        reserved_seq,
        ..starting("acme", None)
    };
    let run = created(&store, reserving(50)).await;
    for first_seq in [0, 2, 49, 51] {
        let wrong = RunCommit {
            events: Some(deltas(run.id, first_seq, 1)),
            ..commit(&run)
        };
        assert_fenced(&store, wrong, "within what is reserved").await;
    }
    let above = RunCommit {
        events: Some(deltas(run.id, 50, 2)),
        reserved_seq: 80,
        ..commit(&run)
    };
    store.commit(above).await.expect("above what is reserved");
    let after = record(&store, run.id).await;
    assert_eq!((after.next_seq, after.reserved_seq), (52, 80));
    store.commit(delta_commit(&after, 1)).await.expect("at the next seq");
    let after = record(&store, run.id).await;
    assert_eq!((after.next_seq, after.reserved_seq), (53, 0));
    let seqs: Vec<u64> = store
        .events(run.id, None, usize::MAX)
        .await
        .expect("the store answers")
        .iter()
        .flat_map(|batch| batch.frames().map(|frame| frame.seq).collect::<Vec<_>>())
        .collect();
    assert_eq!(seqs, [0, 50, 51, 52]);
}

/// However a run leaves `running`, its Slot is free at once.
pub async fn leaving_running_gives_the_slot_back(store: Arc<dyn Store>) {
    let full = Ok(crate::ports::store::Creation::QuotaExceeded { running: 1 });
    for to in [
        RunState::Queued,
        RunState::Waiting,
        RunState::Completed,
        RunState::Failed,
        RunState::Cancelled,
    ] {
        let run = created(&store, starting("acme", Some(1))).await;
        assert_eq!(store.create_run(starting("acme", Some(1))).await, full);
        store.commit(move_commit(&run, to)).await.expect("leaves");
        assert_eq!(running_runs(&store, "acme").await, 0);
    }
}
