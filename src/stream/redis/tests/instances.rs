//! Two instances, one Redis: what one writes the other shows.

use std::sync::Arc;
use std::time::Duration;

use callboard_actors::encoding::encode;
use callboard_actors::event::EventBody;
use callboard_actors::ids::RunId;
use callboard_actors::item::Usage;
use callboard_actors::ports::{EventLog, EventLogError, LogHead};
use callboard_actors::testing::event_log_conformance::{
    Durability, ScriptedWriter, delta, expect_whole_log, read_to_the_end, read_up_to,
};

use callboard_actors::testing::memory_store::MemoryStore;
use tokio::runtime::Handle;

use super::{Pair, RedisLogOptions, open_with, shared, test_server, until};

/// Followers on B from any position, before and while A writes, with both durabilities; and afterwards.
async fn followers_elsewhere_see_everything(address: super::RedisAddress) {
    let pair = Pair::open(&address);
    let (first, second) = (shared(&pair.first), shared(&pair.second));
    for durability in [Durability::Strict, Durability::Relaxed] {
        let mut writer = ScriptedWriter::of_new_run(&first, &pair.store, durability);
        let run = writer.run;
        let mut followers = vec![(0, second.follow(run, None)), (6, second.follow(run, Some(5)))];
        for round in 0..20_u64 {
            writer.write_deltas(10).await;
            writer.write((0..5).map(|_| delta("in one batch"))).await;
            let next = writer.next_seq();
            followers.push((0, second.follow(run, None)));
            followers.push((next, second.follow(run, Some(next - 1))));
            if round % 7 == 3 {
                writer.flush();
            }
            if round % 5 == 4 {
                let seen = read_up_to(&mut followers[0].1, next - 1).await;
                followers[0].0 = next;
                assert_eq!(seen.last(), Some(&(next - 1)));
            }
        }
        writer.finish().await;
        let last = writer.next_seq() - 1;
        for (from, mut follower) in followers {
            assert_eq!(
                read_to_the_end(&mut follower).await,
                (from..=last).collect::<Vec<u64>>()
            );
        }
        expect_whole_log(&second, run, None, last).await;
        expect_whole_log(&second, run, Some(last - 3), last).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn followers_on_another_instance_see_everything_in_order() {
    followers_elsewhere_see_everything(test_server::single()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn followers_on_another_instance_see_everything_in_order_through_a_cluster() {
    followers_elsewhere_see_everything(test_server::cluster()).await;
}

/// Each event arrives before the next is written: nothing waits for a later one, or for the slow check.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_single_event_is_heard_at_once() {
    let pair = Pair::connected(&test_server::single()).await;
    let (first, second) = (shared(&pair.first), shared(&pair.second));
    for durability in [Durability::Strict, Durability::Relaxed] {
        let mut writer = ScriptedWriter::of_new_run(&first, &pair.store, durability);
        let mut follower = second.follow(writer.run, None);
        for seq in 0..100 {
            writer.write_deltas(1).await;
            assert_eq!(read_up_to(&mut follower, seq).await, [seq]);
        }
        writer.finish().await;
        assert_eq!(read_to_the_end(&mut follower).await, [100]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pollers_on_another_instance_see_what_is_only_in_redis() {
    let pair = Pair::connected(&test_server::single()).await;
    let (first, second) = (shared(&pair.first), shared(&pair.second));
    let mut writer = ScriptedWriter::of_new_run(&first, &pair.store, Durability::Relaxed);
    let run = writer.run;
    writer.write_deltas(10).await;
    writer.flush();
    writer.write_deltas(10).await;
    pair.first.flush().await;
    let head = |next_seq, ended| Ok(Some(LogHead { next_seq, ended }));
    assert_eq!(second.head(run).await, head(20, false));
    let seqs = async |after, limit| {
        let batches = second.read(run, after, limit).await.expect("reads");
        let seqs = batches.iter().flat_map(|batch| batch.first_seq()..=batch.last_seq());
        seqs.collect::<Vec<u64>>()
    };
    assert_eq!(seqs(None, 100).await, (0..20).collect::<Vec<u64>>());
    assert_eq!(seqs(Some(4), 8).await, (5..13).collect::<Vec<u64>>());
    assert_eq!(seqs(Some(14), 3).await, [15, 16, 17]);
    assert_eq!(seqs(Some(19), 3).await, Vec::<u64>::new());
    writer.finish().await;
    pair.first.flush().await;
    assert_eq!(second.head(run).await, head(21, true));
    assert_eq!(seqs(Some(18), 100).await, [19, 20]);
}

/// The second instance takes the run over while the first still believes that it has it.
async fn the_zombie_is_refused(address: super::RedisAddress) {
    let pair = Pair::connected(&address).await;
    let (first, second) = (shared(&pair.first), shared(&pair.second));
    let mut zombie = ScriptedWriter::of_new_run(&first, &pair.store, Durability::Strict);
    let run = zombie.run;
    let (mut at_first, mut at_second) = (first.follow(run, None), second.follow(run, None));
    zombie.write_deltas(5).await;
    // Else it would be these that are refused, and the first would know too early for this test.
    pair.first.flush().await;
    assert_eq!(read_up_to(&mut at_first, 4).await, [0, 1, 2, 3, 4]);
    assert_eq!(read_up_to(&mut at_second, 4).await, [0, 1, 2, 3, 4]);

    // Seqs up to 100 were reserved: what the first instance shows of them may be lost.
    let mut successor = ScriptedWriter::new(&second, &pair.store, run, 2, 100, Durability::Strict);
    successor.write_deltas(2).await;
    pair.second.flush().await;
    let late = encode(run, 5, [delta("late")]).expect("one event");
    assert_eq!(
        first.append(run, 1, late).await,
        Ok(()),
        "the first has not heard of it"
    );
    pair.first.flush().await;
    // Refused by Redis: now it has.
    let later = encode(run, 6, [delta("later")]).expect("one event");
    assert_eq!(read_up_to(&mut at_first, 101).await, [5, 100, 101]);
    assert_eq!(first.append(run, 1, later).await, Err(EventLogError::Fenced));
    successor.write_deltas(3).await;
    successor.finish().await;
    assert_eq!(read_to_the_end(&mut at_second).await, [100, 101, 102, 103, 104, 105]);
    assert_eq!(read_to_the_end(&mut at_first).await, [102, 103, 104, 105]);
    let whole = [0, 1, 2, 3, 4, 100, 101, 102, 103, 104, 105];
    assert_eq!(read_to_the_end(&mut second.follow(run, None)).await, whole);
    let third: Arc<dyn EventLog> = Arc::new(super::open(pair.store.clone(), address));
    assert_eq!(read_to_the_end(&mut third.follow(run, None)).await, whole);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn after_a_take_over_the_zombie_is_refused() {
    the_zombie_is_refused(test_server::single()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn after_a_take_over_the_zombie_is_refused_by_a_cluster() {
    the_zombie_is_refused(test_server::cluster()).await;
}

/// Handed over and back, with followers on both that never notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_run_may_wander_between_instances_under_its_followers() {
    let pair = Pair::connected(&test_server::single()).await;
    let logs = [shared(&pair.first), shared(&pair.second)];
    let run = RunId::new();
    let mut followers: Vec<_> = logs.iter().map(|log| log.follow(run, None)).collect();
    let mut next = 0;
    for epoch in 1..=10_u64 {
        let log = &logs[usize::from(epoch % 2 == 0)];
        let mut writer = ScriptedWriter::new(log, &pair.store, run, epoch, next, Durability::Strict);
        writer.write_deltas(7).await;
        if epoch == 10 {
            writer.finish().await;
        }
        next = writer.next_seq();
        log.release(run);
        followers.push(log.follow(run, None));
    }
    for follower in &mut followers {
        assert_eq!(read_to_the_end(follower).await, (0..next).collect::<Vec<u64>>());
    }
    drop(followers);
    for log in [&pair.first, &pair.second] {
        until(log, |health| health.runs == 0 && health.mirrored_runs == 0).await;
    }
}

/// A run waits in the queue; both instances follow it; the one that claims it finds its own commit in the log already.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_claim_that_a_mirror_saw_first_is_appended_all_the_same() {
    let pair = Pair::connected(&test_server::single()).await;
    let second = shared(&pair.second);
    for _ in 0..50 {
        let first = shared(&pair.first);
        let mut queued = ScriptedWriter::of_new_run(&first, &pair.store, Durability::Strict);
        let run = queued.run;
        queued.write_deltas(2).await;
        first.release(run);
        let mut follower = second.follow(run, None);
        let claimed = encode(run, 2, [delta("claimed")]).expect("one event");
        pair.store.commit_events(run, 2, claimed.clone());
        // Seen through the store before it is appended, if the mirror is quick.
        tokio::task::yield_now().await;
        let mut other = second.follow(run, Some(1));
        assert_eq!(second.append(run, 2, claimed).await, Ok(()));
        let mut writer = ScriptedWriter::new(&second, &pair.store, run, 2, 3, Durability::Strict);
        writer.finish().await;
        assert_eq!(read_to_the_end(&mut follower).await, [0, 1, 2, 3]);
        assert_eq!(read_to_the_end(&mut other).await, [2, 3]);
        assert_eq!(read_to_the_end(&mut first.follow(run, None)).await, [0, 1, 2, 3]);
    }
}

/// The writer dies between its last commit and the append: nobody will ever publish the end. The slow look finds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_committed_and_never_published_is_seen() {
    let pair = Pair::connected(&test_server::single()).await;
    let mut options = RedisLogOptions::new(test_server::single(), Handle::current());
    options.check_interval = Duration::from_millis(50);
    let third = open_with(pair.store.clone(), options);
    let first = shared(&pair.first);
    let mut writer = ScriptedWriter::of_new_run(&first, &pair.store, Durability::Strict);
    let run = writer.run;
    writer.write_deltas(3).await;
    let mut follower = third.follow(run, None);
    assert_eq!(read_up_to(&mut follower, 2).await, [0, 1, 2]);
    let end = EventBody::RunCompleted {
        usage: Usage::default(),
    };
    pair.store
        .commit_events(run, 1, encode(run, 3, [end]).expect("one event"));
    assert_eq!(read_to_the_end(&mut follower).await, [3]);
}

/// Readers poll on runtimes of their own, which have no input and output: all of that happens on the runtime of the options.
#[test]
fn readers_may_poll_on_any_runtime() {
    let io = tokio::runtime::Runtime::new().expect("a runtime");
    // Pollers ask Redis over a connection that followers do not need: it must be there.
    let pair = io.block_on(Pair::connected(&test_server::single()));
    let first = shared(&pair.first);
    let mut writer = ScriptedWriter::of_new_run(&first, &pair.store, Durability::Relaxed);
    let run = writer.run;
    let writing = io.spawn(async move {
        writer.write_deltas(50).await;
        writer
    });
    let poller = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let mut follower = pair.second.follow(run, None);
    let seen = poller.block_on(read_up_to(&mut follower, 49));
    assert_eq!(seen, (0..50).collect::<Vec<u64>>());
    let head = poller.block_on(pair.second.head(run)).expect("it answers");
    assert_eq!(head.map(|head| head.next_seq), Some(50));
    let page = poller
        .block_on(pair.second.read(run, Some(9), 100))
        .expect("it answers");
    assert_eq!(page.iter().map(|batch| batch.count()).sum::<u64>(), 40);
    let mut writer = io.block_on(writing).expect("the writer panicked");
    io.block_on(writer.finish());
    assert_eq!(poller.block_on(read_to_the_end(&mut follower)), [50]);
    poller.block_on(async move { drop(follower) });
}

/// The same, and the end is committed while the mirror looks: it has read the record and not yet the events.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_end_that_comes_between_two_looks_is_seen() {
    for _ in 0..40 {
        let store = Arc::new(MemoryStore::new());
        let mut options = RedisLogOptions::new(test_server::single(), Handle::current());
        options.check_interval = Duration::from_millis(20);
        let elsewhere = open_with(store.clone(), options);
        let nobody: Arc<dyn EventLog> = Arc::new(super::open(store.clone(), test_server::single()));
        let mut writer = ScriptedWriter::of_new_run(&nobody, &store, Durability::Strict);
        let run = writer.run;
        let begun = writer.encode([delta("begun")]);
        store.commit_events(run, 1, begun);
        let held = store.hold_reads();
        let mut follower = elsewhere.follow(run, None);
        let reader = tokio::spawn(async move { read_to_the_end(&mut follower).await });
        // One read is the reader's and one the mirror's: both have an answer that is old now.
        held.one_more().await;
        held.one_more().await;
        let end = EventBody::RunCompleted {
            usage: Usage::default(),
        };
        store.commit_events(run, 1, encode(run, 1, [end]).expect("one event"));
        held.release();
        assert_eq!(reader.await.expect("a reader panicked"), [0, 1]);
    }
}
