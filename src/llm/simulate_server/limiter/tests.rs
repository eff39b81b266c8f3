//! The limiter against a naive count of every window.

use std::time::Duration;

use callboard_actors::ports::rate_limits::KeyLimits;
use proptest::prelude::*;

use super::{KeyLimiter, LetInCall, LimitReached};

const MINUTE: Duration = Duration::from_secs(60);

fn limits(requests: u64, tokens: u64, concurrent: u64) -> KeyLimits {
    KeyLimits {
        requests_per_minute: Some(requests),
        tokens_per_minute: Some(tokens),
        concurrent_calls: Some(concurrent),
    }
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn a_call_takes_room_for_exactly_a_minute() {
    let mut limiter = KeyLimiter::new(limits(2, 1_000, 9), MINUTE);
    for second in [0, 10] {
        limiter.let_in(seconds(second), 1).expect("room");
    }
    assert_eq!(
        limiter.let_in(seconds(15), 1),
        Err(LimitReached::Requests { wait: seconds(45) })
    );
    let moment_before = seconds(60) - Duration::from_nanos(1);
    assert!(limiter.let_in(moment_before, 1).is_err());
    assert!(limiter.let_in(seconds(60), 1).is_ok());
}

#[test]
fn tokens_are_corrected_where_they_were_counted() {
    let mut limiter = KeyLimiter::new(limits(99, 100, 9), MINUTE);
    let call = limiter.let_in(seconds(0), 80).expect("room");
    assert_eq!(
        limiter.let_in(seconds(30), 30),
        Err(LimitReached::Tokens { wait: seconds(30) })
    );
    limiter.settle(call, 10);
    let standing = limiter.standing(seconds(30));
    assert_eq!((standing.tokens.amount, standing.tokens.resets_in), (10, seconds(30)));
    limiter.let_in(seconds(30), 90).expect("room now");
    assert_eq!(limiter.standing(seconds(60)).tokens.amount, 90);
}

#[test]
fn what_never_fits_is_told_apart_from_what_must_wait() {
    let mut limiter = KeyLimiter::new(limits(9, 100, 1), MINUTE);
    assert_eq!(limiter.let_in(seconds(0), 101), Err(LimitReached::TooLarge));
    let call = limiter.let_in(seconds(0), 100).expect("room");
    assert_eq!(limiter.let_in(seconds(0), 1), Err(LimitReached::ConcurrentCalls));
    limiter.settle(call, 100);
    assert_eq!(
        limiter.let_in(seconds(0), 1),
        Err(LimitReached::Tokens { wait: MINUTE })
    );
}

#[test]
fn other_limits_count_from_now_on() {
    let mut limiter = KeyLimiter::new(limits(5, 100, 9), MINUTE);
    for _ in 0..5 {
        limiter.let_in(seconds(0), 1).expect("room");
    }
    limiter.set_limits(limits(2, 100, 9));
    let standing = limiter.standing(seconds(1));
    assert_eq!(standing.requests.remaining(2), 0);
    assert!(limiter.let_in(seconds(59), 1).is_err());
    limiter.let_in(seconds(60), 1).expect("room");
}

/// What happens next in a random history.
#[derive(Debug, Clone)]
enum Step {
    Call { after_ms: u64, tokens: u64 },
    End { which: usize, tokens_share: u64 },
}

fn a_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0_u64..9_000, 0_u64..60).prop_map(|(after_ms, tokens)| Step::Call { after_ms, tokens }),
        2 => (any::<usize>(), 0_u64..=100).prop_map(|(which, tokens_share)| Step::End { which, tokens_share }),
    ]
}

/// A call that was let in, as the naive count sees it.
struct Seen {
    at: Duration,
    tokens: u64,
    open: Option<LetInCall>,
}

/// What the calls from `from` on for a minute come to.
fn within_a_minute(seen: &[Seen], from: Duration) -> (u64, u64) {
    let inside = seen.iter().filter(|call| call.at >= from && call.at < from + MINUTE);
    inside.fold((0, 0), |(calls, tokens), call| (calls + 1, tokens + call.tokens))
}

/// What counts at a moment.
fn counted_at(seen: &[Seen], now: Duration) -> (u64, u64) {
    let inside = seen.iter().filter(|call| call.at <= now && now < call.at + MINUTE);
    inside.fold((0, 0), |(calls, tokens), call| (calls + 1, tokens + call.tokens))
}

proptest! {
    #[test]
    fn no_window_exceeds_and_what_is_said_is_true(
        requests in 1_u64..12, tokens_limit in 20_u64..200, concurrent in 1_u64..8,
        steps in prop::collection::vec(a_step(), 1..200)
    ) {
        let mut limiter = KeyLimiter::new(limits(requests, tokens_limit, concurrent), MINUTE);
        let mut seen: Vec<Seen> = Vec::new();
        let mut now = Duration::ZERO;
        for step in steps {
            match step {
                Step::Call { after_ms, tokens } => {
                    now += Duration::from_millis(after_ms);
                    let (calls_now, tokens_now) = counted_at(&seen, now);
                    let open = seen.iter().filter(|call| call.open.is_some()).count() as u64;
                    let fits = calls_now < requests && tokens_now + tokens <= tokens_limit && open < concurrent;
                    let answer = limiter.let_in(now, tokens);
                    prop_assert_eq!(answer.is_ok(), fits, "{:?}", answer);
                    match answer {
                        Ok(call) => seen.push(Seen { at: now, tokens, open: Some(call) }),
                        // What it says is the first moment at which it would fit.
                        Err(LimitReached::Requests { wait } | LimitReached::Tokens { wait }) => {
                            let fits_at = |at| {
                                let (calls, used) = counted_at(&seen, at);
                                calls < requests && used + tokens <= tokens_limit
                            };
                            prop_assert!(fits_at(now + wait));
                            prop_assert!(!fits_at(now + wait - Duration::from_nanos(1)));
                        }
                        Err(LimitReached::TooLarge) => prop_assert!(tokens > tokens_limit),
                        Err(LimitReached::ConcurrentCalls) => prop_assert_eq!(open, concurrent),
                    }
                }
                Step::End { which, tokens_share } => {
                    let mut open: Vec<_> = seen.iter_mut().filter(|call| call.open.is_some()).collect();
                    if open.is_empty() {
                        continue;
                    }
                    let place = which % open.len();
                    let ended = &mut open[place];
                    ended.tokens = ended.tokens * tokens_share / 100;
                    let call = ended.open.take().expect("it is open");
                    limiter.settle(call, ended.tokens);
                }
            }
            let standing = limiter.standing(now);
            let (calls, tokens) = counted_at(&seen, now);
            prop_assert_eq!((standing.requests.amount, standing.tokens.amount), (calls, tokens));
            let (calls, _) = counted_at(&seen, now + standing.requests.resets_in);
            let (_, tokens) = counted_at(&seen, now + standing.tokens.resets_in);
            prop_assert_eq!((calls, tokens), (0, 0));
        }
        // A window is fullest when it begins with a call.
        for call in &seen {
            let (calls, tokens) = within_a_minute(&seen, call.at);
            prop_assert!(calls <= requests && tokens <= tokens_limit, "{} calls, {} tokens", calls, tokens);
        }
    }
}
