//! Reading: in order, in pages, without gaps, without side effects.

use std::sync::Arc;

use super::fixtures::{
    account, commit, created, delta_commit, move_commit, no_items, queued, record, running, starting,
};
use crate::encoding::EncodedEvents;
use crate::ids::RunId;
use crate::item::{Item, Role};
use crate::ports::Store;
use crate::ports::store::{FULL_ITEM_PAGE, NewRun, RunCommit, RunQuery, RunRecord};
use crate::run_state::RunState;
use crate::time::Timestamp;

/// So many batches of so many events after `run.created`.
async fn long_run(store: &Arc<dyn Store>, batches: u64, events: u64) -> RunRecord {
    let mut run = running(store, "acme").await;
    for _ in 0..batches {
        store.commit(delta_commit(&run, events)).await.expect("written");
        run.next_seq += events;
    }
    run
}

/// Every place to go on from gives exactly what is above it.
pub async fn events_come_in_whole_batches_and_are_cut_at_the_front(store: Arc<dyn Store>) {
    let run = long_run(&store, 4, 5).await;
    let all = store.events(run.id, None, usize::MAX).await.expect("the store answers");
    assert_eq!(all.len(), 5);
    for after in 0..21 {
        let expected: Vec<EncodedEvents> = all
            .iter()
            .filter_map(|batch| batch.after(Some(after)))
            .filter(|batch| batch.last_seq() > after)
            .collect();
        let read = store.events(run.id, Some(after), usize::MAX).await;
        assert_eq!(read, Ok(expected), "after {after}");
    }
    for after in [20, 21, 1000, crate::event::MAX_SEQ, u64::MAX] {
        assert_eq!(
            store.events(run.id, Some(after), usize::MAX).await,
            Ok(Vec::new()),
            "after {after}"
        );
    }
}

/// Pages of any size, joined, are the whole; each has at least one batch.
pub async fn event_pages_join_without_a_gap(store: Arc<dyn Store>) {
    let run = long_run(&store, 30, 3).await;
    let all = store.events(run.id, None, usize::MAX).await.expect("the store answers");
    for max_bytes in [0, 1, 700, 5000] {
        let mut pages = Vec::new();
        let mut after = None;
        loop {
            let page = store.events(run.id, after, max_bytes).await.expect("the store answers");
            let Some(last) = page.last() else { break };
            after = Some(last.last_seq());
            let without_last: usize = page[..page.len() - 1].iter().map(|batch| batch.bytes().len()).sum();
            assert!(
                page.len() == 1 || without_last < max_bytes,
                "a page stops when it is full"
            );
            pages.extend(page);
        }
        assert_eq!(pages, all, "pages of {max_bytes} bytes");
    }
}

/// With their places, input first.
pub async fn items_come_in_pages(store: Arc<dyn Store>) {
    let input: Vec<Item> = (0..5)
        .map(|index| Item::message(Role::User, format!("question {index}")))
        .collect();
    let run = NewRun {
        input: input.clone(),
        ..starting("acme", None)
    };
    let run = created(&store, run).await;
    let answers: Vec<Item> = (0..40)
        .map(|index| Item::message(Role::Assistant, format!("answer {index}")))
        .collect();
    for items in answers.chunks(7) {
        let items = items.to_vec();
        store
            .commit(RunCommit { items, ..commit(&run) })
            .await
            .expect("written");
    }
    let expected: Vec<(u32, Item)> = (0..).zip(input.into_iter().chain(answers)).collect();
    let mut read = Vec::new();
    loop {
        let after = read.last().map(|(place, _)| *place);
        let page = store.items(run.id, after, 8).await.expect("the store answers");
        assert!(page.items.len() <= 8);
        read.extend(page.items);
        assert_eq!(page.has_more, read.len() < expected.len());
        if !page.has_more {
            break;
        }
    }
    assert_eq!(read, expected);
    assert_eq!(store.items(run.id, Some(u32::MAX), 8).await, Ok(no_items()));
    let nothing_of_it = store.items(run.id, None, 0).await.expect("the store answers");
    assert_eq!((nothing_of_it.items.len(), nothing_of_it.has_more), (0, true));
}

/// It ends with the item that makes it full, and has one at least.
pub async fn a_page_of_items_is_bounded_in_bytes(store: Arc<dyn Store>) {
    let run = created(&store, starting("acme", None)).await;
    let large = || Item::message(Role::Assistant, "x".repeat(FULL_ITEM_PAGE as usize * 2 / 3));
    for items in [vec![large(), large()], vec![large(), large()]] {
        let step = RunCommit { items, ..commit(&run) };
        store.commit(step).await.expect("written");
    }
    let page = async |after| {
        let page = store.items(run.id, after, 100).await.expect("the store answers");
        let places: Vec<u32> = page.items.iter().map(|(place, _)| *place).collect();
        (places, page.has_more)
    };
    let (first, has_more) = page(Some(0)).await;
    assert_eq!((first.as_slice(), has_more), ([1, 2].as_slice(), true));
    assert_eq!(page(Some(2)).await, (vec![3, 4], false));
}

/// From the end, in pages of any size.
pub async fn newest_items_come_first(store: Arc<dyn Store>) {
    let run = created(&store, starting("acme", None)).await;
    let said = (0..5).map(|number| Item::message(Role::Assistant, number.to_string()));
    let step = RunCommit {
        items: said.collect(),
        ..commit(&run)
    };
    store.commit(step).await.expect("written");
    let mut oldest_first = store.items(run.id, None, 100).await.expect("the store answers").items;
    oldest_first.reverse();
    for limit in 1..=7 {
        let (mut all, mut before) = (Vec::new(), None);
        loop {
            let page = store
                .newest_items(run.id, before, limit)
                .await
                .expect("the store answers");
            let Some((oldest, _)) = page.last() else {
                break;
            };
            before = Some(*oldest);
            all.extend(page);
        }
        assert_eq!(all, oldest_first);
    }
    let nobody = store
        .newest_items(RunId::new(), None, 10)
        .await
        .expect("the store answers");
    assert!(nobody.is_empty());
}

/// By id, of one account, of one state if asked.
pub async fn runs_come_newest_first_in_pages(store: Arc<dyn Store>) {
    let mut ids = Vec::new();
    for index in 0..30 {
        created(&store, queued("other")).await;
        let run = if index % 3 == 0 {
            created(&store, queued("acme")).await
        } else {
            running(&store, "acme").await
        };
        match index % 6 {
            1 => store
                .commit(move_commit(&run, RunState::Completed))
                .await
                .expect("ends"),
            2 => store.commit(move_commit(&run, RunState::Waiting)).await.expect("waits"),
            4 => store.commit(move_commit(&run, RunState::Failed)).await.expect("fails"),
            _ => {}
        }
        ids.push(run.id);
    }
    ids.reverse();
    for state in std::iter::once(None).chain(RunState::ALL.map(Some)) {
        let mut expected = Vec::new();
        for id in &ids {
            let record = record(&store, *id).await;
            if state.is_none_or(|state| state == record.state) {
                expected.push(record);
            }
        }
        let mut read: Vec<RunRecord> = Vec::new();
        loop {
            let query = RunQuery {
                thread: None,
                account: account("acme"),
                state,
                before: read.last().map(|record| record.id),
                limit: 4,
            };
            let page = store.list_runs(query).await.expect("the store answers");
            if page.is_empty() {
                break;
            }
            assert!(page.len() <= 4);
            read.extend(page);
        }
        assert_eq!(read, expected, "{state:?}");
    }
}

/// Unknown runs and keys are no errors.
pub async fn what_is_not_there_is_none(store: Arc<dyn Store>) {
    let unknown = RunId::new();
    assert_eq!(store.run(unknown).await, Ok(None));
    assert_eq!(store.items(unknown, None, 10).await, Ok(no_items()));
    assert_eq!(store.events(unknown, None, 10).await, Ok(Vec::new()));
    assert_eq!(store.has_keys().await, Ok(false));
    assert_eq!(store.find_key([0; 32]).await, Ok(None));
    assert_eq!(store.list_keys().await, Ok(Vec::new()));
    let now = Timestamp::now();
    assert_eq!(store.revoke_key(crate::ids::KeyId::new(), now).await, Ok(false));
    assert_eq!(store.forget_idempotency_keys(now).await, Ok(0));
    let recovered = store
        .recover(crate::ids::InstanceId::new())
        .await
        .expect("the store answers");
    assert!(recovered.running.is_empty() && recovered.queued.is_empty());
}
