//! `callboard models test`.

use std::io::Write;

use callboard_actors::ports::{ModelError, ModelErrorKind};
use comfy_table::ContentArrangement;
use futures::{StreamExt, stream};
use serde_json::{Value, json};

use super::{ModelsError, ModelsTestArguments, WIDTH};
use crate::cli::text::{grouped, table};
use crate::model_directory::{KeyProbe, ProbeAnswer};

/// Calls at once.
const AT_ONCE: usize = 8;

type Outcome = Result<ProbeAnswer, ModelError>;

/// Makes the calls and prints to `output` what came of them.
///
/// # Errors
/// Some have failed, or nobody reads it.
pub async fn test(
    arguments: &ModelsTestArguments,
    probes: Vec<KeyProbe>,
    output: &mut impl Write,
) -> Result<(), ModelsError> {
    let tries = stream::iter(probes).map(|probe| async {
        let outcome = probe.ask().await;
        (probe, outcome)
    });
    // In parallel, and shown in order.
    let tried: Vec<(KeyProbe, Outcome)> = tries.buffered(AT_ONCE).collect().await;
    if arguments.json {
        let data: Vec<Value> = tried.iter().map(|(probe, outcome)| json_of(probe, outcome)).collect();
        writeln!(output, "{:#}", json!({ "data": data }))?;
    } else {
        print(&tried, output)?;
    }
    let failed = tried.iter().filter(|(_, outcome)| outcome.is_err()).count();
    let total = tried.len();
    if failed > 0 {
        return Err(ModelsError::Failed { failed, total });
    }
    Ok(())
}

fn print(tried: &[(KeyProbe, Outcome)], output: &mut impl Write) -> std::io::Result<()> {
    let rows = tried.iter().map(|(probe, outcome)| row(probe, outcome)).collect();
    let headings = ["provider · model", "key", "state", "first token", "tokens"];
    let mut table = table(headings, rows, &[3, 4]);
    table
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(WIDTH);
    writeln!(output, "{table}")?;
    for (probe, outcome) in tried {
        if let Err(error) = outcome {
            let (provider, model, number) = (&probe.provider, &probe.upstream_model, probe.number);
            writeln!(output, "{provider} · {model}, key {number}: {}", what_is_wrong(error))?;
        }
    }
    Ok(())
}

fn row(probe: &KeyProbe, outcome: &Outcome) -> [String; 5] {
    let asked = format!(
        "{} · {}\n  for {}",
        probe.provider,
        probe.upstream_model,
        probe.routes.join(", ")
    );
    let key = match &probe.last_four {
        Some(end) => format!("{} …{end}", probe.number),
        None => probe.number.to_string(),
    };
    match outcome {
        Ok(answer) => [
            asked,
            key,
            "ok".to_owned(),
            format!("{} ms", grouped(whole_milliseconds(answer))),
            grouped(answer.usage.total()),
        ],
        Err(_) => [asked, key, "FAILED".to_owned(), String::new(), String::new()],
    }
}

/// In words that say what to do.
fn what_is_wrong(error: &ModelError) -> String {
    let advice = match error.kind {
        ModelErrorKind::Status(401 | 403) => "the provider does not take the key",
        ModelErrorKind::Status(402) => "there is no credit left for the key",
        ModelErrorKind::Status(404) => "there is no such model, or nothing at this base_url",
        ModelErrorKind::Status(429) => "the key is taken, but its limits are used up at the moment",
        ModelErrorKind::Status(400..=499) => "the provider refuses the call: is the model right, and the dialect?",
        ModelErrorKind::Status(_) => "the provider is in trouble",
        ModelErrorKind::Connection => "is base_url right, and is the provider up?",
        ModelErrorKind::Timeout => "the provider is too slow, or not there",
        ModelErrorKind::Protocol => "is the dialect right?",
    };
    format!("{error}: {advice}")
}

fn whole_milliseconds(answer: &ProbeAnswer) -> u64 {
    u64::try_from(answer.first_token.as_millis()).unwrap_or(u64::MAX)
}

fn json_of(probe: &KeyProbe, outcome: &Outcome) -> Value {
    let status = match outcome {
        Err(error) => match error.kind {
            ModelErrorKind::Status(status) => Some(status),
            ModelErrorKind::Connection | ModelErrorKind::Timeout | ModelErrorKind::Protocol => None,
        },
        Ok(_) => Some(200),
    };
    let answer = outcome.as_ref().ok();
    json!({
        "models": probe.routes,
        "provider": probe.provider,
        "upstream_model": probe.upstream_model,
        "key": probe.number,
        "last_four": probe.last_four,
        "ok": outcome.is_ok(),
        "status": status,
        "first_token_ms": answer.map(whole_milliseconds),
        "usage": answer.map(|answer| answer.usage),
        "answered_by": answer.map(|answer| &answer.model),
        "problem": outcome.as_ref().err().map(what_is_wrong),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use async_trait::async_trait;
    use callboard_actors::event::FinishReason;
    use callboard_actors::item::Usage;
    use callboard_actors::ports::model::InvalidOption;
    use callboard_actors::ports::{Model, ModelAnswer, ModelDelta, ModelRequest};
    use serde_json::Map;

    use super::*;

    /// Answers with a word, or with this status.
    struct Told(Option<u16>);

    #[async_trait]
    impl Model for Told {
        async fn call(&self, request: ModelRequest) -> Result<ModelAnswer, ModelError> {
            assert!(request.max_output_tokens.is_some_and(|tokens| tokens < 100));
            if let Some(status) = self.0 {
                let message = format!("the model's provider answered {status}");
                return Err(ModelError::new(ModelErrorKind::Status(status), message));
            }
            let pieces = [
                Ok(ModelDelta::Text("Ready".into())),
                Ok(ModelDelta::Finished {
                    reason: FinishReason::Stop,
                    usage: Usage::of(1_200, 1),
                    model: "m-2026".into(),
                }),
            ];
            Ok(ModelAnswer::unlimited(stream::iter(pieces).boxed()))
        }

        fn check_options(&self, _options: &Map<String, Value>) -> Result<(), InvalidOption> {
            Ok(())
        }
    }

    fn probe(number: usize, last_four: Option<&str>, status: Option<u16>) -> KeyProbe {
        KeyProbe {
            routes: vec!["smart".into(), "fast".into()],
            provider: "one".into(),
            upstream_model: "m".into(),
            number,
            last_four: last_four.map(str::to_owned),
            model: Arc::new(Told(status)),
            longest: Duration::from_secs(1),
        }
    }

    async fn tested(json: bool, probes: Vec<KeyProbe>) -> (String, Result<(), ModelsError>) {
        let arguments = ModelsTestArguments { model: None, json };
        let mut output = Vec::new();
        let result = test(&arguments, probes, &mut output).await;
        (String::from_utf8(output).expect("UTF-8"), result)
    }

    #[tokio::test(start_paused = true)]
    async fn each_key_has_its_line_and_what_is_wrong_is_said() {
        let probes = vec![probe(1, Some("abcd"), None), probe(2, None, Some(401))];
        let (text, result) = tested(false, probes).await;
        assert!(
            text.contains("1 …abcd") && text.contains("ok") && text.contains("1,201"),
            "{text}"
        );
        assert!(text.contains("FAILED") && text.contains("401"), "{text}");
        assert!(text.contains("for smart, fast"), "{text}");
        let last = text.lines().last().expect("it has lines");
        assert_eq!(
            last,
            "one · m, key 2: the model's provider answered 401: the provider does not take the key"
        );
        let error = result.expect_err("one has failed");
        assert_eq!(error.to_string(), "1 of 2 calls failed");
    }

    #[tokio::test(start_paused = true)]
    async fn json_has_the_same() {
        let (text, result) = tested(true, vec![probe(1, None, None)]).await;
        assert!(result.is_ok());
        let json: Value = serde_json::from_str(&text).expect("JSON");
        let key = &json["data"][0];
        assert_eq!((&key["ok"], &key["answered_by"]), (&json!(true), &json!("m-2026")));
        assert_eq!(key["usage"]["input_tokens"], 1_200);
        assert_eq!(key["problem"], Value::Null);
    }
}
