//! Runs to test with, and what is asked of them again and again.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::encoding::{EncodedEvents, encode};
use crate::event::{EventBody, WaitingReason};
use crate::ids::{AccountId, InstanceId, ItemId, RunId};
use crate::item::{Item, Role, Usage};
use crate::ports::Store;
use crate::ports::store::{
    Admission, Claim, ClaimRun, Creation, ItemPage, NewRun, ParkedUpdate, RunCommit, RunQuery, RunRecord, StateChange,
};
use crate::run_state::RunState;
use crate::spec::{HistorySettings, RunLimits, RunSpec};
use crate::time::Timestamp;
use crate::tool_use::ToolUse;

pub(in crate::testing) fn account(name: &str) -> AccountId {
    name.parse().expect("an account name")
}

pub(in crate::testing) fn spec() -> Arc<RunSpec> {
    Arc::new(RunSpec {
        agent: None,
        model: "simulated".into(),
        fallback_models: Vec::new(),
        instructions: Some("answer in \"one\" line\nand \\ no more: ü \u{1F980} \u{0}".into()),
        tools: vec![ToolUse::named("clock")],
        model_options: [("temperature".to_owned(), 0.1.into())].into_iter().collect(),
        metadata: [("ticket".to_owned(), "4711".to_owned())].into(),
        history: HistorySettings::default(),
        limits: RunLimits {
            max_steps: 8,
            max_output_tokens: Some(u64::from(u32::MAX) + 1),
            max_total_tokens: None,
            max_cost_usd: None,
            deadline_seconds: 600,
        },
    })
}

pub(in crate::testing) fn new_run(account_name: &str, admission: Admission) -> NewRun {
    let id = RunId::new();
    let events = encode(id, 0, [EventBody::RunCreated { spec: spec() }]).expect("an event");
    NewRun {
        id,
        account: account(account_name),
        tier: "pro".into(),
        instance: InstanceId::new(),
        idempotency: None,
        spec: spec(),
        input: vec![Item::message(Role::User, "hello \u{0} \" \\u0000 \u{2028}")],
        thread: None,
        admission,
        events,
        reserved_seq: 0,
        created_at: Timestamp::now(),
    }
}

pub(in crate::testing) fn starting(account_name: &str, slot_limit: Option<u32>) -> NewRun {
    new_run(account_name, Admission::Start { slot_limit })
}

pub(in crate::testing) fn queued(account_name: &str) -> NewRun {
    new_run(account_name, Admission::Queue { deadline: None })
}

/// Creates it, and says what the store has then.
pub(in crate::testing) async fn created(store: &Arc<dyn Store>, run: NewRun) -> RunRecord {
    let id = run.id;
    assert_eq!(store.create_run(run).await, Ok(Creation::Created));
    record(store, id).await
}

/// A run that runs under epoch 1 without a limit.
pub(in crate::testing) async fn running(store: &Arc<dyn Store>, account_name: &str) -> RunRecord {
    created(store, starting(account_name, None)).await
}

pub(in crate::testing) async fn record(store: &Arc<dyn Store>, run: RunId) -> RunRecord {
    store
        .run(run)
        .await
        .expect("the store answers")
        .expect("the run is there")
}

pub(in crate::testing) fn claim(run: RunId, slot_limit: Option<u32>) -> ClaimRun {
    ClaimRun {
        run,
        instance: InstanceId::new(),
        slot_limit,
        reserve_seqs: 0,
        at: Timestamp::now(),
    }
}

pub(in crate::testing) async fn claimed(store: &Arc<dyn Store>, run: RunId) -> RunRecord {
    match store.claim_run(claim(run, None)).await {
        Ok(Claim::Claimed { record, .. }) => *record,
        other => panic!("not claimed: {other:?}"),
    }
}

/// So many deltas from this seq on.
pub(in crate::testing) fn deltas(run: RunId, first_seq: u64, count: u64) -> EncodedEvents {
    let item_id = ItemId::new();
    let bodies = (0..count).map(|index| EventBody::TextDelta {
        item_id,
        delta: format!("word {index}\n\n"),
    });
    encode(run, first_seq, bodies).expect("events")
}

/// A commit of nothing, to be filled.
pub(in crate::testing) fn commit(record: &RunRecord) -> RunCommit {
    RunCommit {
        calls: None,
        run: record.id,
        account: record.account.clone(),
        epoch: record.epoch,
        events: None,
        reserved_seq: 0,
        items: Vec::new(),
        progress: None,
        charges: Vec::new(),
        change: None,
    }
}

/// A commit of so many deltas at the run's `next_seq`.
pub(in crate::testing) fn delta_commit(record: &RunRecord, count: u64) -> RunCommit {
    RunCommit {
        events: Some(deltas(record.id, record.next_seq, count)),
        ..commit(record)
    }
}

pub(in crate::testing) fn change(to: RunState) -> StateChange {
    StateChange {
        to,
        error: (to == RunState::Failed).then(crate::error::RunError::internal),
        waiting: (to == RunState::Waiting).then_some(WaitingReason::NeedsReview),
        at: Timestamp::now(),
    }
}

/// A commit that moves a running run, with the event of an ending if it is one.
pub(in crate::testing) fn move_commit(record: &RunRecord, to: RunState) -> RunCommit {
    let change = change(to);
    let ending = EventBody::ending(to, change.error.as_ref(), Usage::default());
    RunCommit {
        events: encode(record.id, record.next_seq.max(record.reserved_seq), ending),
        change: Some(change),
        ..commit(record)
    }
}

pub(in crate::testing) fn parked(run: RunId, to: RunState) -> ParkedUpdate {
    ParkedUpdate::moving(run, Vec::new(), change(to))
}

/// A run of so many commits of so many deltas each, and its end.
pub(super) async fn ended(store: &Arc<dyn Store>, account_name: &str, commits: u64, deltas_each: u64) -> RunRecord {
    let mut run = running(store, account_name).await;
    for _ in 0..commits {
        store.commit(delta_commit(&run, deltas_each)).await.expect("written");
        run.next_seq += deltas_each;
    }
    store
        .commit(move_commit(&run, RunState::Completed))
        .await
        .expect("ends");
    record(store, run.id).await
}

/// Later than everything that has happened.
pub(super) fn after_all() -> Timestamp {
    Timestamp::now().after(Duration::from_secs(1))
}

/// The bytes of all events of a run above `after`, read in pages of about so many bytes. They join without a gap.
pub(super) async fn log_bytes(store: &Arc<dyn Store>, run: RunId, after: Option<u64>, max_bytes: usize) -> Vec<u8> {
    log_bytes_without(store, run, after, max_bytes, 0..0).await
}

/// The same for a log whose writer has left out these seqs.
pub(super) async fn log_bytes_without(
    store: &Arc<dyn Store>,
    run: RunId,
    after: Option<u64>,
    max_bytes: usize,
    left_out: Range<u64>,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut seen = after;
    loop {
        let page = store.events(run, seen, max_bytes).await.expect("the store answers");
        if page.is_empty() {
            return bytes;
        }
        for batch in page {
            let mut next = seen.map_or(0, |seen| seen + 1);
            if left_out.contains(&next) {
                next = left_out.end;
            }
            assert_eq!(batch.first_seq(), next, "what follows {seen:?}");
            bytes.extend_from_slice(batch.bytes());
            seen = Some(batch.last_seq());
        }
    }
}

/// The kinds of all events of a run, after checking that their seqs have no gap.
pub(in crate::testing) async fn kinds(store: &Arc<dyn Store>, run: RunId) -> Vec<String> {
    let batches = store.events(run, None, usize::MAX).await.expect("the store answers");
    let frames: Vec<(u64, String)> = batches
        .iter()
        .flat_map(EncodedEvents::frames)
        .map(|frame| (frame.seq, frame.kind.to_owned()))
        .collect();
    for (index, (seq, _)) in frames.iter().enumerate() {
        assert_eq!(*seq, index as u64, "the log has no gap");
    }
    frames.into_iter().map(|(_, kind)| kind).collect()
}

/// How many runs of the account the store has in `running`.
pub(in crate::testing) async fn running_runs(store: &Arc<dyn Store>, account_name: &str) -> usize {
    let query = RunQuery {
        account: account(account_name),
        thread: None,
        state: Some(RunState::Running),
        before: None,
        limit: 10_000,
    };
    store.list_runs(query).await.expect("the store answers").len()
}

/// Of a run that has none there, or is not there.
pub(in crate::testing) const fn no_items() -> ItemPage<(u32, Item)> {
    ItemPage {
        items: Vec::new(),
        has_more: false,
    }
}

/// Everything that is known of a run, to see that nothing has changed.
pub(in crate::testing) async fn picture(
    store: &Arc<dyn Store>,
    run: RunId,
) -> (RunRecord, Vec<(u32, Item)>, Vec<EncodedEvents>) {
    (
        record(store, run).await,
        store.items(run, None, 1000).await.expect("the store answers").items,
        store.events(run, None, usize::MAX).await.expect("the store answers"),
    )
}

/// Runs all of them at once and waits for each.
pub(in crate::testing) async fn at_once<F>(work: impl IntoIterator<Item = F>) -> Vec<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let tasks: Vec<_> = work.into_iter().map(tokio::spawn).collect();
    let mut outputs = Vec::with_capacity(tasks.len());
    for task in tasks {
        outputs.push(task.await.expect("no panic"));
    }
    outputs
}
