//! What is said, when, and what goes wrong.

use super::*;
use serde_json::json;

fn performance(options: serde_json::Value) -> Performance {
    Performance {
        options: SimulateOptions::from_value(&options).expect("good options"),
        prompt_hash: 7,
        input_tokens: 3,
        tool_rounds_done: 0,
        attempt: 1,
        max_output_tokens: None,
        trouble: AnswerTrouble::default(),
    }
}

async fn text_of(performance: Performance) -> (String, Option<FinishReason>) {
    let (mut text, mut reason) = (String::new(), None);
    for act in performance.play().collect::<Vec<_>>().await {
        let Act::Say(pieces) = act else { continue };
        for piece in pieces {
            match piece {
                ModelDelta::Text(delta) => text.push_str(&delta),
                ModelDelta::Finished { reason: why, .. } => reason = Some(why),
                _ => {}
            }
        }
    }
    (text, reason)
}

#[tokio::test]
async fn the_same_seed_says_the_same_and_says_that_it_is_simulated() {
    let (first, _) = text_of(performance(json!({"seed": 1}))).await;
    let (again, _) = text_of(performance(json!({"seed": 1}))).await;
    let (other, _) = text_of(performance(json!({"seed": 2}))).await;
    assert_eq!(first, again);
    assert_ne!(first, other);
    assert!(first.starts_with(MARK));
}

#[tokio::test(start_paused = true)]
async fn tokens_come_at_their_pace() {
    let began = Instant::now();
    let options = json!({"first_token_ms": 500, "tokens": 10, "tokens_per_second": 10});
    let (text, reason) = text_of(performance(options)).await;
    assert_eq!(reason, Some(FinishReason::Stop));
    assert_eq!(text.split_whitespace().count(), 11);
    let took = began.elapsed();
    assert!(
        took >= Duration::from_millis(1500) && took < Duration::from_millis(1600),
        "{took:?}"
    );
}

#[tokio::test]
async fn tools_are_called_first_and_the_limit_cuts_the_text() {
    let mut two_steps =
        performance(json!({"tool_calls": [{"name": "now"}, {"name": "echo", "arguments": {"text": "a"}}]}));
    let acts: Vec<Act> = two_steps.clone().play().collect().await;
    let [Act::Say(pieces)] = acts.as_slice() else {
        panic!("one act, not {acts:?}")
    };
    assert_eq!(pieces.len(), 5);
    two_steps.tool_rounds_done = 1;
    two_steps.max_output_tokens = Some(3);
    let (text, reason) = text_of(two_steps).await;
    assert_eq!(reason, Some(FinishReason::Length));
    assert_eq!(text.split_whitespace().count(), 4);
}

#[tokio::test]
async fn it_fails_when_and_as_often_as_told() {
    let mut broken = performance(json!({"tokens": 5, "fail": {"kind": "break", "after_tokens": 2, "attempts": 1}}));
    let acts: Vec<Act> = broken.clone().play().collect().await;
    assert_eq!(acts.last(), Some(&Act::Fail(FailureKind::Break)));
    broken.attempt = 2;
    assert_eq!(text_of(broken).await.1, Some(FinishReason::Stop));
}

#[tokio::test(start_paused = true)]
async fn trouble_comes_from_the_provider_and_from_the_options() {
    let began = Instant::now();
    let mut troubled = performance(json!({"tokens": 9, "slow_start": {"median_ms": 100, "p99_ms": 100}}));
    troubled.trouble = AnswerTrouble {
        delay: Duration::from_millis(400),
        breaks_at: Some(0.5),
    };
    let acts: Vec<Act> = troubled.play().collect().await;
    let [Act::Say(pieces), Act::Fail(FailureKind::Break)] = acts.as_slice() else {
        panic!("a break, not {acts:?}")
    };
    assert_eq!(pieces.len(), 5, "half of the mark and nine words");
    assert_eq!(began.elapsed().as_millis(), 500);
}

#[tokio::test]
async fn chance_is_the_same_for_the_same_try() {
    let mut ends = Vec::new();
    for attempt in 1..=40 {
        let mut tried = performance(json!({"seed": 3, "break_share": 0.5}));
        tried.attempt = attempt;
        let again = text_of(tried.clone()).await;
        let once = text_of(tried).await;
        assert_eq!(once, again);
        ends.push(once.1);
    }
    let broken = ends.iter().filter(|end| end.is_none()).count();
    assert!((10..30).contains(&broken), "{broken}");
}
