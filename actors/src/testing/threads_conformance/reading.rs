//! What was said.

use super::FreshThreads;
use super::fixtures::{
    ACCOUNT, MANY_TURNS, QUEUE, account, entered, entering, moves, new_thread, record, started, waits,
};
use crate::call_ledger::CallStage;
use crate::ids::{RunId, ThreadId};
use crate::item::{Item, Role};
use crate::ports::store::{RunCommit, RunQuery, RunRecord};
use crate::ports::threads::{NewThread, OnBusy, ThreadItem, ThreadItemsQuery, ThreadPlace, Turn, TurnPage};
use crate::run_state::RunState;
use crate::testing::store_conformance::fixtures::commit;
use crate::testing::store_conformance::waiting_for_calls::{answer, call, ledger, resolve, wait_for};

/// A thread that began with two items, with so many ended runs of three items each.
async fn told(fresh: &FreshThreads, runs: usize) -> (ThreadId, Vec<RunRecord>) {
    let new = NewThread {
        items: ["hello", "how are you?"]
            .map(|text| Item::message(Role::User, text))
            .into(),
        ..new_thread(ACCOUNT)
    };
    let thread = new.id;
    fresh.threads.create_thread(new).await.expect("written");
    let mut made = Vec::new();
    for _ in 0..runs {
        let run = started(&fresh.store, thread).await;
        let said = ["one", "two"].map(|text| Item::message(Role::Assistant, text));
        let step = RunCommit {
            items: said.into(),
            ..commit(&run)
        };
        fresh.store.commit(step).await.expect("written");
        moves(&fresh.store, run.id, RunState::Completed).await;
        made.push(record(&fresh.store, run.id).await);
    }
    (thread, made)
}

async fn page(fresh: &FreshThreads, thread: ThreadId, after: Option<ThreadPlace>, limit: u32) -> Vec<ThreadItem> {
    let query = ThreadItemsQuery { thread, after, limit };
    fresh.threads.thread_items(query).await.expect("reads").items
}

/// Pages of any size join; a hidden run has none.
pub async fn items_are_those_of_the_runs_in_order(fresh: &FreshThreads) {
    let (thread, runs) = told(fresh, 3).await;
    let all = page(fresh, thread, None, 100).await;
    let whose: Vec<Option<RunId>> = all.iter().map(|item| item.run).collect();
    let of = |index: usize| Some(runs[index].id);
    let expected = [
        None,
        None,
        of(0),
        of(0),
        of(0),
        of(1),
        of(1),
        of(1),
        of(2),
        of(2),
        of(2),
    ];
    assert_eq!(whose, expected);
    assert!(all.is_sorted_by_key(|item| item.place));
    assert_eq!(all[2].item, Item { ..all[2].item.clone() });
    let stored = fresh.store.items(runs[1].id, None, 10).await.expect("reads").items;
    let of_second: Vec<&Item> = all[5..8].iter().map(|item| &item.item).collect();
    assert_eq!(stored.iter().map(|(_, item)| item).collect::<Vec<_>>(), of_second);
    for size in 1..13 {
        let mut joined = Vec::new();
        loop {
            let query = ThreadItemsQuery {
                thread,
                after: joined.last().map(|item: &ThreadItem| item.place),
                limit: size,
            };
            let next = fresh.threads.thread_items(query).await.expect("reads");
            joined.extend(next.items);
            assert_eq!(
                next.has_more,
                joined.len() < all.len(),
                "after {} of pages of {size}",
                joined.len()
            );
            if !next.has_more {
                break;
            }
        }
        assert_eq!(joined, all, "pages of {size}");
    }
    let active = started(&fresh.store, thread).await;
    assert_eq!(
        page(fresh, thread, None, 100).await.len(),
        12,
        "what goes on is there too"
    );
    entered(&fresh.store, entering(thread, OnBusy::Replace, QUEUE)).await;
    let now = page(fresh, thread, None, 100).await;
    assert_eq!(now.len(), 12);
    assert!(now.iter().all(|item| item.run != Some(active.id)), "it is hidden");
}

fn places(turns: &[Turn]) -> Vec<(u64, usize)> {
    turns.iter().map(|turn| (turn.position, turn.items.len())).collect()
}

/// What the thread began with is the last of them.
pub async fn turns_come_newest_first(fresh: &FreshThreads) {
    let (thread, _) = told(fresh, 5).await;
    let turns = |before, turns| {
        let page = TurnPage { turns, ..MANY_TURNS };
        fresh.threads.turns_before(thread, before, page)
    };
    let all = turns(6, 100).await.expect("reads");
    assert_eq!(places(&all), [(5, 3), (4, 3), (3, 3), (2, 3), (1, 3)]);
    assert_eq!(places(&turns(4, 2).await.expect("reads")), [(3, 3), (2, 3)]);
    assert_eq!(places(&turns(1, 1).await.expect("reads")), [(0, 2)]);
    assert_eq!(places(&turns(0, 10).await.expect("reads")), []);
    let extent = fresh.threads.extent_before(thread, 4).await.expect("reads");
    assert_eq!(extent.turns, 4, "three runs, and what it began with");
    let longer = fresh.threads.extent_before(thread, 6).await.expect("reads");
    assert!(longer.bytes > extent.bytes && extent.bytes > 0);
}

/// The turn that makes a page full is its last.
pub async fn turns_are_read_no_further_than_the_page_is_large(fresh: &FreshThreads) {
    let (thread, _) = told(fresh, 5).await;
    let extent = async |before| fresh.threads.extent_before(thread, before).await.expect("reads").bytes;
    let of_last = extent(6).await - extent(5).await;
    let read = async |before, bytes| {
        let page = TurnPage { bytes, ..MANY_TURNS };
        places(&fresh.threads.turns_before(thread, before, page).await.expect("reads"))
    };
    for bytes in [0, 1, of_last] {
        assert_eq!(read(6, bytes).await, [(5, 3)], "one at least: {bytes}");
        assert_eq!(read(1, bytes).await, [(0, 2)]);
    }
    assert_eq!(read(6, of_last + 1).await, [(5, 3), (4, 3)]);
}

/// However they came: with the run, in a step, as an answer while the run waited.
pub async fn a_turn_is_as_large_as_its_items(fresh: &FreshThreads) {
    let thread = new_thread(ACCOUNT);
    let id = thread.id;
    fresh.threads.create_thread(thread).await.expect("written");
    let run = started(&fresh.store, id).await;
    let said = ["one\n", "„two“ \u{1f980} \u{7}"].map(|text| Item::message(Role::Assistant, text));
    let step = RunCommit {
        items: said.into(),
        ..commit(&run)
    };
    fresh.store.commit(step).await.expect("written");
    let call = call("a", CallStage::Output);
    let waiting = wait_for(&fresh.store, &record(&fresh.store, run.id).await, ledger(vec![call])).await;
    let before = fresh.threads.extent_before(id, 2).await.expect("reads");
    resolve(&fresh.store, &waiting, vec![answer("a")]).await;
    let items = fresh.store.items(run.id, None, 100).await.expect("reads").items;
    let lengths = items
        .iter()
        .map(|(_, item)| serde_json::to_string(item).expect("JSON").len() as u64);
    let extent = fresh.threads.extent_before(id, 2).await.expect("reads");
    assert_eq!((extent.turns, extent.bytes), (1, lengths.sum()));
    assert!(extent.bytes > before.bytes);
}

/// Newest first, in pages, in any state or in one.
pub async fn runs_are_listed_by_thread(fresh: &FreshThreads) {
    let (thread, runs) = told(fresh, 2).await;
    told(fresh, 1).await;
    let active = started(&fresh.store, thread).await;
    let waiting = waits(&fresh.store, thread).await;
    let list = |state, before| {
        let query = RunQuery {
            account: account(ACCOUNT),
            thread: Some(thread),
            state,
            before,
            limit: 3,
        };
        let listed = fresh.store.list_runs(query);
        async {
            listed
                .await
                .expect("reads")
                .into_iter()
                .map(|run| run.id)
                .collect::<Vec<_>>()
        }
    };
    assert_eq!(list(None, None).await, [waiting.id, active.id, runs[1].id]);
    assert_eq!(list(None, Some(runs[1].id)).await, [runs[0].id]);
    assert_eq!(list(Some(RunState::Running), None).await, [active.id]);
    assert_eq!(list(Some(RunState::Completed), None).await, [runs[1].id, runs[0].id]);
}
