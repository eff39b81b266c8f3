//! Lines in front of limits that open when the test says so.

use std::future::ready;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::attempt::Attempt;
use super::grant::GrantHold;
use super::line::{NoRoom, WaitNotice};
use super::place::{Place, first_room};
use super::*;
use crate::event::{FinishReason, ModelWaitingReason};
use crate::ids::{AccountId, RunId};
use crate::item::Usage;
use crate::ports::model::{InvalidOption, LimitHints};
use crate::ports::rate_limits::{Admission, CallEnd, Grant, KeyLimits, KeyUsage, LimitedKey, LimitsReach, Wanted};
use crate::ports::{Model, ModelAnswer, ModelDelta, ModelError, ModelRequest, RateLimits};
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;

/// Grants as many calls as it was opened for; says who was granted and how calls ended.
#[derive(Default)]
struct Gate {
    open: AtomicUsize,
    ends: Mutex<Vec<CallEnd>>,
}

#[async_trait]
impl RateLimits for Gate {
    async fn admit(&self, wanted: &Wanted) -> Admission {
        let opened = self
            .open
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |open| open.checked_sub(1));
        match opened {
            Ok(_) => Admission::Granted(Grant {
                id: Uuid::nil(),
                key: 0,
                key_name: "gate/1".into(),
                provider: "gate".into(),
                tokens: wanted.tokens,
            }),
            Err(_) => Admission::NotYet {
                wait: Duration::from_secs(30),
                reason: ModelWaitingReason::TokensPerMinute,
            },
        }
    }

    async fn answered(&self, _grant: &Grant, _hints: LimitHints) {}

    async fn settle(&self, _grant: &Grant, end: CallEnd) {
        self.ends.lock().expect("no panic").push(end);
    }

    async fn usage(&self, _keys: &[LimitedKey]) -> Vec<KeyUsage> {
        Vec::new()
    }

    fn reach(&self) -> LimitsReach {
        LimitsReach::Instance
    }
}

/// A line in front of a gate, and the calls that were granted, in order.
struct Site {
    gate: Arc<Gate>,
    line: Arc<CallLine>,
    provider: Arc<Provider>,
    granted: mpsc::UnboundedReceiver<(&'static str, GrantHold)>,
    grant: mpsc::UnboundedSender<(&'static str, GrantHold)>,
}

impl Site {
    fn new(most_waiting: usize) -> Self {
        let gate = Arc::new(Gate::default());
        let (grant, granted) = mpsc::unbounded_channel();
        Self {
            line: CallLine::new(gate.clone(), most_waiting),
            provider: Arc::new(Provider {
                name: "gate".into(),
                circuit: Circuit::new(CircuitSettings {
                    failures: 1,
                    rest: Duration::from_secs(10),
                    longest_rest: Duration::from_secs(10),
                }),
            }),
            gate,
            granted,
            grant,
        }
    }

    fn place(&self, account: &str, deadline: Instant) -> Result<Place, NoRoom> {
        let account = account.parse::<AccountId>().expect("a good name");
        self.line.stand_in_line(&account, &self.provider, wanted(), deadline)
    }

    /// Waits in a task of its own until it stands in line.
    async fn call(&self, name: &'static str, account: &str) -> tokio::task::JoinHandle<Result<(), NoRoom>> {
        let grant = self.grant.clone();
        let place = self.place(account, in_an_hour());
        let task = tokio::spawn(async move {
            let (_, hold) = first_room(vec![(0, place?)], in_an_hour(), |_| ready(())).await?;
            grant.send((name, hold)).map_err(|_| NoRoom::Deadline)
        });
        // The first one is taken out by the pump.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        task
    }

    fn open(&self, calls: usize) {
        self.gate.open.fetch_add(calls, Ordering::SeqCst);
        self.line.room.notify_one();
    }

    async fn next(&mut self) -> (&'static str, GrantHold) {
        self.granted.recv().await.expect("the site has a sender")
    }
}

fn wanted() -> Wanted {
    let key = LimitedKey {
        name: "gate/1".into(),
        provider: "gate".into(),
        limits: KeyLimits::default(),
    };
    Wanted {
        keys: Arc::new([key]),
        tokens: 10,
        lease: Duration::from_secs(60),
    }
}

fn in_an_hour() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

#[tokio::test(start_paused = true)]
async fn accounts_take_turns_and_keep_their_own_order() {
    let mut site = Site::new(100);
    for name in ["a1", "a2", "a3", "a4"] {
        site.call(name, "a").await;
    }
    for (name, account) in [("b1", "b"), ("b2", "b"), ("c1", "c")] {
        site.call(name, account).await;
    }
    site.open(7);
    let mut order = Vec::new();
    for _ in 0..7 {
        order.push(site.next().await.0);
    }
    // The first was at the gate before the others came.
    assert_eq!(order, ["a1", "a2", "b1", "c1", "a3", "b2", "a4"]);
    assert_eq!(site.line.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn whoever_leaves_the_line_delays_nobody_and_takes_no_room_away() {
    let mut site = Site::new(100);
    let first = site.call("first", "a").await;
    let second = site.call("second", "a").await;
    site.call("third", "a").await;
    site.call("other", "b").await;
    second.abort();
    first.abort();
    let _ = first.await;
    let _ = second.await;
    site.open(2);
    assert_eq!([site.next().await.0, site.next().await.0], ["third", "other"]);
    assert_eq!(site.gate.open.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn room_that_nobody_takes_any_more_is_given_back() {
    let mut site = Site::new(100);
    site.call("one", "a").await;
    site.open(1);
    let (_, mut hold) = site.next().await;
    drop(site.call("two", "a").await);
    site.open(1);
    let (_, not_sent) = site.next().await;
    drop(not_sent);
    hold.sent();
    drop(hold);
    while site.gate.ends.lock().expect("no panic").len() < 2 {
        tokio::task::yield_now().await;
    }
    let ends = site.gate.ends.lock().expect("no panic").clone();
    assert_eq!(ends, [CallEnd::NotMade, CallEnd::Unknown]);
}

#[tokio::test(start_paused = true)]
async fn the_line_is_bounded_and_the_wait_has_an_end() {
    let site = Site::new(2);
    for name in ["at the gate", "one", "two"] {
        site.call(name, "a").await;
    }
    assert_eq!(site.place("b", in_an_hour()).map(drop), Err(NoRoom::LineFull));

    let site = Site::new(2);
    let soon = Instant::now() + Duration::from_secs(5);
    let place = site.place("b", soon).expect("the line is empty");
    let waited = first_room(vec![(0, place)], soon, |_| ready(())).await;
    assert_eq!(waited.map(drop), Err(NoRoom::Deadline));
    assert_eq!(Instant::now(), soon);
    // The pump has yet to see that it left.
    while site.line.waiting() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_wait_is_told_once_with_its_reason_and_a_short_one_not_at_all() {
    let site = Site::new(10);
    let told: Mutex<Vec<WaitNotice>> = Mutex::default();
    let tell = |notice| {
        told.lock().expect("no panic").push(notice);
        ready(())
    };
    let place = || vec![(0, site.place("a", in_an_hour()).expect("the line has room"))];
    let (line, gate) = (site.line.clone(), site.gate.clone());
    let opener = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        gate.open.store(1, Ordering::SeqCst);
        line.room.notify_one();
        tokio::time::sleep(Duration::from_secs(20)).await;
        gate.open.store(1, Ordering::SeqCst);
        line.room.notify_one();
    });
    let short = first_room(place(), in_an_hour(), tell).await;
    assert!(short.is_ok());
    assert_eq!(*told.lock().expect("no panic"), []);
    let long = first_room(place(), in_an_hour(), tell).await;
    assert!(long.is_ok());
    let told = told.lock().expect("no panic").clone();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].reason, ModelWaitingReason::TokensPerMinute);
    assert!(told[0].estimate > Duration::from_secs(29), "{told:?}");
    opener.await.expect("no panic");
}

#[tokio::test(start_paused = true)]
async fn of_several_lines_the_one_with_room_first_is_taken_and_the_others_are_left() {
    let (east, west) = (Site::new(10), Site::new(10));
    west.call("before it", "a").await;
    west.call("right before it", "a").await;
    let places = [&east, &west].map(|site| site.place("a", in_an_hour()).expect("the line has room"));
    let waiting = tokio::spawn(first_room((0..).zip(places).collect(), in_an_hour(), |_| ready(())));
    west.call("behind it", "a").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(west.line.waiting(), 4);
    east.open(1);
    let (target, hold) = waiting.await.expect("no panic").expect("there is room");
    assert_eq!(target, 0);
    drop(hold);
    assert_eq!(west.line.waiting(), 3);
    let mut west = west;
    west.open(3);
    let mut order = Vec::new();
    for _ in 0..3 {
        order.push(west.next().await.0);
    }
    assert_eq!(order, ["before it", "right before it", "behind it"]);
}

#[tokio::test(start_paused = true)]
async fn a_place_that_is_taken_later_has_its_turn_from_then_on() {
    let (east, west) = (Site::new(10), Site::new(10));
    east.open(1);
    let began = Instant::now();
    let in_five_seconds = began + Duration::from_secs(5);
    let account: AccountId = "a".parse().expect("a good name");
    let later = || {
        let (line, provider) = (east.line.clone(), east.provider.clone());
        Place::later(line, account.clone(), provider, wanted(), in_five_seconds, in_an_hour())
    };
    drop(later());
    let places = vec![
        (0, later()),
        (1, west.place("a", in_an_hour()).expect("the line has room")),
    ];
    let (target, _hold) = first_room(places, in_an_hour(), |_| ready(()))
        .await
        .expect("there is room");
    assert_eq!((target, began.elapsed().as_secs()), (0, 5));
    assert_eq!(
        (east.line.waiting(), west.line.waiting()),
        (0, 1),
        "the pump of the other has not looked yet"
    );
}

#[tokio::test(start_paused = true)]
async fn while_a_provider_is_left_alone_calls_keep_their_places_and_then_one_tries_it() {
    let mut site = Site::new(10);
    for name in ["first", "second", "third"] {
        site.call(name, "a").await;
    }
    assert!(site.provider.circuit.failed());
    let left_alone = Instant::now();
    site.open(3);
    let (name, _hold) = site.next().await;
    assert_eq!(name, "first");
    assert!(left_alone.elapsed() >= Duration::from_secs(10));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(site.granted.is_empty(), "one is enough to see");
    site.provider.circuit.succeeded();
    assert_eq!([site.next().await.0, site.next().await.0], ["second", "third"]);
}

#[tokio::test(start_paused = true)]
async fn who_fills_the_line_makes_place_for_whoever_has_none() {
    let site = Site::new(4);
    let greedy = [
        site.call("a1", "a").await,
        site.call("a2", "a").await,
        site.call("a3", "a").await,
    ];
    let last = site.call("a4", "a").await;
    assert!(site.place("a", in_an_hour()).is_err(), "its own line is the longest");
    let modest = site.place("b", in_an_hour());
    assert!(modest.is_ok());
    assert_eq!(last.await.expect("no panic"), Err(NoRoom::LineFull));
    assert!(greedy.iter().all(|call| !call.is_finished()));
    let modest_too = site.place("b", in_an_hour());
    assert!(modest_too.is_err(), "now both have their share");
    drop(modest);
}

/// A provider that begins to answer, works for a while without showing anything, and then says it all.
struct Thinker {
    signs_of_life: u32,
}

#[async_trait]
impl Model for Thinker {
    async fn call(&self, _request: ModelRequest) -> Result<ModelAnswer, ModelError> {
        let working = stream::iter(0..self.signs_of_life).then(|_| async {
            tokio::time::sleep(Duration::from_secs(20)).await;
            Ok(ModelDelta::Working)
        });
        let finished = ModelDelta::Finished {
            reason: FinishReason::Stop,
            usage: Usage::of(1, 1),
            model: "thinker".into(),
        };
        let pieces = working.chain(stream::iter([Ok(finished)])).chain(stream::pending());
        Ok(ModelAnswer::unlimited(pieces.boxed()))
    }

    fn check_options(&self, _options: &Map<String, Value>) -> Result<(), InvalidOption> {
        Ok(())
    }
}

/// Counts what it hears.
#[derive(Default)]
struct Ear(AtomicUsize);

#[async_trait]
impl CallListener for Ear {
    async fn hear(&self, _progress: ModelProgress) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_that_thinks_in_silence_is_left_to_it_as_long_as_it_gives_signs_of_life() {
    let timeouts = ModelTimeouts {
        first_byte: Duration::from_secs(30),
        idle: Duration::from_secs(30),
        call: Duration::from_secs(1000),
    };
    for (signs_of_life, timeouts, is_answered) in [
        (10, timeouts, true),
        (
            10,
            ModelTimeouts {
                idle: Duration::from_secs(10),
                ..timeouts
            },
            false,
        ),
        (100, timeouts, false),
    ] {
        let model: Arc<dyn Model> = Arc::new(Thinker { signs_of_life });
        let ear = Ear::default();
        let limits = Arc::new(Gate::default());
        let provider = Site::new(1).provider;
        let grant = Grant {
            id: Uuid::nil(),
            key: 0,
            key_name: "gate/1".into(),
            provider: "gate".into(),
            tokens: 1,
        };
        let mut grant = GrantHold::new(CallLine::new(limits.clone(), 1), limits, provider, grant);
        let call = Arc::new(CallInProgress::cached(&"m".into(), &"gate".into(), false));
        let attempt = Attempt::new(&model, timeouts, call, &ear, None);
        let request = ModelRequest {
            run_id: RunId::new(),
            step: 1,
            attempt: 1,
            instructions: None,
            conversation: Arc::new([]),
            tools: Arc::new([]),
            max_output_tokens: None,
            options: Arc::default(),
        };
        let answer = attempt.make(request, &mut grant, || ()).await;
        assert_eq!(answer.is_ok(), is_answered, "{signs_of_life} {timeouts:?}");
        assert_eq!(ear.0.load(Ordering::SeqCst), 1, "the run hears once that it has begun");
    }
}
