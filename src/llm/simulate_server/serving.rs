//! How a call is served, whatever its dialect: whose key is it, what does it want, does trouble hit it, is there room, then the answer.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{ContentEncoding, HeaderMap};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use callboard_actors::ports::ModelDelta;
use futures::stream::{self, Stream, StreamExt};
use uuid::Uuid;

use super::dialects::{Answer, AnswerWriter, Dialect, HeaderStyle, Opening, Problem};
use super::journal::Outcome;
use super::limit_headers::{write, write_limit_reached, write_retry_after, write_standing};
use super::limiter::Standing;
use super::provider::{Caller, OpenCall, Provider};
use super::settings::ending_of;
use crate::llm::openai::{ATTEMPT_HEADER, RUN_HEADER};
use crate::llm::simulated::options::{FailureKind, SimulateOptions};
use crate::llm::simulated::script::{Act, Performance, hash_of};

/// How often an official SDK has tried this call before.
const SDK_RETRY_HEADER: &str = "x-stainless-retry-count";

impl Caller {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let bearer = text("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let key = text("x-api-key").or(bearer).unwrap_or_default();
        let told = text(ATTEMPT_HEADER).and_then(|text| text.parse().ok());
        let retries = text(SDK_RETRY_HEADER).and_then(|text| text.parse::<u32>().ok());
        Self {
            key: key.to_owned(),
            run: text(RUN_HEADER).map(Arc::from),
            attempt: told.or(retries.map(|count| count.saturating_add(1))).unwrap_or(1),
        }
    }
}

pub(super) async fn serve(
    dialect: &'static dyn Dialect,
    provider: web::Data<Provider>,
    request: HttpRequest,
    body: Bytes,
) -> HttpResponse {
    let provider = provider.into_inner();
    let caller = Caller::of(request.headers());
    let asked = dialect.read(request.headers(), &body);
    let mut call = provider.begin(
        dialect.name(),
        &caller,
        asked.as_ref().map_or(0, |asked| asked.tool_rounds_done),
    );
    let mut reply = Reply {
        dialect,
        request_id: format!("req_{}", Uuid::now_v7().simple()),
        standing: None,
    };
    let Some(key) = provider.find_key(&caller.key) else {
        call.end(Some(401), Outcome::KeyRefused);
        return reply.problem(&key_refused(&caller));
    };
    reply.standing = Some(provider.standing(key));
    let asked = asked.and_then(|asked| {
        let simulate = asked.simulate.as_ref().map(SimulateOptions::from_value);
        let options = simulate.unwrap_or_else(|| Ok(provider.simulate.clone()));
        options
            .map(|options| (asked, options))
            .map_err(|error| error.to_string())
    });
    let (asked, options) = match asked {
        Ok(asked) => asked,
        Err(message) => {
            call.end(Some(400), Outcome::Invalid);
            return reply.problem(&Problem::Invalid(message));
        }
    };
    let trouble = match provider.draw_trouble() {
        Ok(trouble) => trouble,
        Err(outage) => {
            call.end(outage.status, Outcome::Outage);
            return outage
                .status
                .map_or_else(broken, |status| reply.problem(&Problem::Trouble(status)));
        }
    };
    let most_output = asked.max_output_tokens.unwrap_or(provider.default_max_output_tokens);
    let (standing, reached) = call.take_room(key, asked.input_tokens, most_output);
    reply.standing = Some(standing);
    if let Some(reached) = reached {
        call.end(Some(429), Outcome::RateLimited);
        let tokens = asked.input_tokens.saturating_add(most_output);
        let mut response = reply.problem(&Problem::RateLimited {
            reached,
            standing,
            tokens,
        });
        write_limit_reached(reached, response.headers_mut());
        return response;
    }
    let performance = Performance {
        options,
        prompt_hash: hash_of(&body),
        input_tokens: asked.input_tokens,
        tool_rounds_done: asked.tool_rounds_done,
        attempt: caller.attempt,
        max_output_tokens: asked.max_output_tokens,
        trouble,
    };
    if let Some(response) = told_to_fail(&performance, &mut call, &reply) {
        return response;
    }
    if asked.stream {
        return reply.streamed(performance, asked.writer, call);
    }
    reply.whole(performance, asked.writer, call).await
}

/// What a caller hears whose key is not taken.
pub(super) fn key_refused(caller: &Caller) -> Problem {
    Problem::KeyRefused {
        ending: ending_of(&caller.key).to_owned(),
    }
}

/// The failure that comes instead of an answer, if the options say so.
fn told_to_fail(performance: &Performance, call: &mut OpenCall, reply: &Reply) -> Option<HttpResponse> {
    let failure = performance.failure()?;
    match failure.kind {
        FailureKind::Status => {
            call.end(Some(failure.status), Outcome::ToldToFail);
            let mut response = reply.problem(&Problem::Trouble(failure.status));
            if let Some(millis) = failure.retry_after_ms {
                write_retry_after(Duration::from_millis(millis), response.headers_mut());
            }
            Some(response)
        }
        // There is a connection already; closing it without an answer is the nearest thing.
        FailureKind::Connect => {
            call.end(None, Outcome::ToldToFail);
            Some(broken())
        }
        FailureKind::Break
        | FailureKind::Stall
        | FailureKind::Garbage
        | FailureKind::ErrorEvent
        | FailureKind::Panic => None,
    }
}

/// A connection that closes without an answer.
fn broken() -> HttpResponse {
    HttpResponse::Ok().streaming(stream::iter([Err::<Bytes, _>(Broken)]))
}

#[derive(Debug, thiserror::Error)]
#[error("told to break off")]
struct Broken;

/// What the answer to one request has in common, whatever is in it.
pub(super) struct Reply {
    pub(super) dialect: &'static dyn Dialect,
    pub(super) request_id: String,
    /// How things stand with its key, if that is taken.
    pub(super) standing: Option<Standing>,
}

impl Reply {
    pub(super) fn problem(&self, problem: &Problem) -> HttpResponse {
        let status = StatusCode::from_u16(problem.status()).unwrap_or(StatusCode::BAD_REQUEST);
        let mut response = HttpResponse::build(status).json(self.dialect.error(problem, &self.request_id));
        self.write_headers(response.headers_mut());
        response
    }

    fn write_headers(&self, headers: &mut HeaderMap) {
        let style = self.dialect.header_style();
        let name = match style {
            HeaderStyle::OpenAi => "x-request-id",
            HeaderStyle::Anthropic => "request-id",
        };
        write(name, &self.request_id, headers);
        if let Some(standing) = &self.standing {
            write_standing(style, standing, headers);
        }
    }

    fn streamed(&self, performance: Performance, writer: Box<dyn AnswerWriter>, call: OpenCall) -> HttpResponse {
        let mut response = HttpResponse::Ok()
            .content_type("text/event-stream; charset=utf-8")
            .insert_header(ContentEncoding::Identity)
            .insert_header(("cache-control", "no-store"))
            .streaming(written(self.dialect, performance, writer, call));
        self.write_headers(response.headers_mut());
        response
    }

    /// The answer in one piece.
    async fn whole(
        &self,
        performance: Performance,
        mut writer: Box<dyn AnswerWriter>,
        mut call: OpenCall,
    ) -> HttpResponse {
        let opening = Opening::now(performance.prompt_hash, performance.usage_of_input());
        let status = performance.failure().map_or(503, |failure| failure.status);
        let mut answer = Answer::default();
        let mut acts = performance.play();
        while let Some(act) = acts.next().await {
            let kind = match act {
                Act::Say(pieces) => {
                    note(&pieces, &mut call);
                    pieces.iter().for_each(|piece| answer.add(piece));
                    continue;
                }
                Act::Fail(kind) => kind,
            };
            if kind == FailureKind::Stall {
                return stream::pending().next().await.unwrap_or_else(broken);
            }
            let said = matches!(kind, FailureKind::ErrorEvent | FailureKind::Garbage);
            let status = if kind == FailureKind::Garbage { 200 } else { status };
            call.end(said.then_some(status), Outcome::BrokeOff);
            return match kind {
                FailureKind::ErrorEvent => self.problem(&Problem::Trouble(status)),
                FailureKind::Garbage => HttpResponse::Ok()
                    .content_type("application/json")
                    .body("{\"choices\": 7"),
                _ => broken(),
            };
        }
        let mut response = HttpResponse::Ok().json(writer.whole(&opening, &answer));
        self.write_headers(response.headers_mut());
        response
    }
}

/// Notes what is about to be sent.
fn note(pieces: &[ModelDelta], call: &mut OpenCall) {
    for piece in pieces {
        match piece {
            ModelDelta::Text(_) | ModelDelta::Reasoning(_) => call.said(1),
            ModelDelta::Finished { usage, .. } => call.answered(*usage),
            _ => {}
        }
    }
}

/// A stream of events. The call is open as long as this is.
fn written(
    dialect: &'static dyn Dialect,
    performance: Performance,
    mut writer: Box<dyn AnswerWriter>,
    mut call: OpenCall,
) -> impl Stream<Item = Result<Bytes, Broken>> {
    let opening = Opening::now(performance.prompt_hash, performance.usage_of_input());
    let status = performance.failure().map_or(503, |failure| failure.status);
    let mut has_begun = false;
    performance.play().flat_map(move |act| {
        let mut text = String::new();
        if !std::mem::replace(&mut has_begun, true) {
            writer.begin(&opening, &mut text);
        }
        let kind = match act {
            Act::Say(pieces) => {
                note(&pieces, &mut call);
                pieces.iter().for_each(|piece| writer.write(piece, &mut text));
                return stream::iter([Ok(Bytes::from(text))]).boxed();
            }
            Act::Fail(FailureKind::Stall) => return stream::pending().boxed(),
            Act::Fail(kind) => kind,
        };
        call.end(Some(200), Outcome::BrokeOff);
        match kind {
            FailureKind::Garbage => stream::iter([Ok(Bytes::from_static(dialect.garbage().as_bytes()))]).boxed(),
            FailureKind::ErrorEvent => {
                writer.fail(status, &mut text);
                stream::iter([Ok(Bytes::from(text))]).boxed()
            }
            _ => stream::iter([Err(Broken)]).boxed(),
        }
    })
}
