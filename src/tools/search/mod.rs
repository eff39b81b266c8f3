//! `search`: asks the search endpoint that the configuration names, several questions at once.

use std::collections::BTreeMap;

use async_trait::async_trait;
use callboard_actors::ports::{RetryClass, Tool, ToolCall, ToolDefinition, ToolError};
use callboard_actors::tool_use::{HttpMethod, HttpTool};
use futures::StreamExt;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;

use super::http_tool::{DeclaredHttpTool, HttpDeclaration};
use super::reach::ToolReach;

/// Questions of one call.
const MOST_QUERIES: usize = 10;

/// Questions that are asked at once.
const AT_ONCE: usize = 5;

/// A search endpoint. In `url`, `headers` and `body`, `{{query}}` is the question and `{{count}}` how many results are wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchOptions {
    /// Where to ask.
    pub url: String,
    /// How.
    pub method: HttpMethod,
    /// Header fields, with `{{secret:NAME}}`.
    pub headers: BTreeMap<String, String>,
    /// What is sent.
    pub body: Option<Value>,
    /// JSON Pointer to the list of results.
    pub results: String,
    /// JSON Pointers into each of them.
    pub title: String,
    /// As `title`.
    pub link: String,
    /// As `title`.
    pub snippet: String,
    /// Results of one question.
    pub max_results: usize,
}

/// What is wrong with a search endpoint: the key, and a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct InvalidSearch {
    /// As in `[tools.search]`.
    pub key: String,
    /// What is wrong.
    pub problem: String,
}

impl SearchOptions {
    /// Whether it can be asked.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), InvalidSearch> {
        self.declaration().map(drop)
    }

    /// What is wrong with the secrets that go along, if `allows` says of each name and an address whether there is such a secret for it.
    ///
    /// # Errors
    /// The first that is refused, with the words of `allows`, or the endpoint cannot be asked at all.
    pub fn check_secrets(&self, allows: impl Fn(&str, &Url) -> Result<(), String>) -> Result<(), InvalidSearch> {
        let declaration = self.declaration()?;
        for (field, name) in declaration.secrets() {
            allows(name, declaration.sample_url()).map_err(|problem| InvalidSearch {
                key: "headers".to_owned(),
                problem: format!("{field}: {problem}"),
            })?;
        }
        Ok(())
    }

    fn declaration(&self) -> Result<HttpDeclaration, InvalidSearch> {
        let pointers = [
            ("results", &self.results),
            ("title", &self.title),
            ("link", &self.link),
            ("snippet", &self.snippet),
        ];
        for (key, pointer) in pointers {
            if !(pointer.is_empty() || pointer.starts_with('/')) {
                return Err(InvalidSearch {
                    key: key.to_owned(),
                    problem: "must be a JSON Pointer (RFC 6901), such as \"/web/results\"".to_owned(),
                });
            }
        }
        let tool = HttpTool {
            name: "search".to_owned(),
            description: String::new(),
            parameters: json!({"type": "object", "properties": {"query": {}, "count": {}}}),
            url: self.url.clone(),
            method: self.method,
            headers: self.headers.clone(),
            body: self.body.clone(),
            response_pointer: None,
            response_template: None,
            signing_secret: None,
            retry: RetryClass::Safe,
            timeout_seconds: None,
            max_concurrent: None,
            requires_approval: false,
        };
        HttpDeclaration::parse(&tool, Duration::MAX).map_err(|wrong| InvalidSearch {
            key: wrong.field,
            problem: wrong.problem,
        })
    }
}

pub(super) struct Search {
    endpoint: DeclaredHttpTool,
    options: SearchOptions,
    reach: ToolReach,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    queries: Vec<String>,
}

/// What is found for one question.
#[derive(Debug, Serialize)]
struct Found {
    query: String,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Results(Vec<SearchResult>),
    Error(String),
}

#[derive(Debug, Serialize)]
struct SearchResult {
    title: String,
    url: String,
    snippet: String,
}

impl Search {
    /// `reach` is for the configured endpoint: it may be one that clients cannot reach.
    ///
    /// # Errors
    /// The endpoint cannot be asked.
    pub(super) fn new(options: SearchOptions, reach: ToolReach) -> Result<Self, InvalidSearch> {
        let endpoint = DeclaredHttpTool::of_configuration(options.declaration()?, reach.clone());
        endpoint.check_secrets().map_err(|wrong| InvalidSearch {
            key: wrong.field,
            problem: wrong.problem,
        })?;
        Ok(Self {
            endpoint,
            options,
            reach,
        })
    }

    async fn found(&self, query: String, call: ToolCall) -> Found {
        let outcome = match self.results(&query, call).await {
            Ok(results) => Outcome::Results(results),
            Err(error) => Outcome::Error(error.message),
        };
        Found { query, outcome }
    }

    async fn results(&self, query: &str, call: ToolCall) -> Result<Vec<SearchResult>, ToolError> {
        let arguments = json!({"query": query, "count": self.options.max_results});
        let account = call.account.clone();
        let answer = self.endpoint.call(ToolCall { arguments, ..call }).await?;
        let options = self.options.clone();
        let read = self
            .reach
            .work_through(&account, answer.len(), move || read_results(&answer, &options));
        read.await?
    }
}

fn read_results(answer: &str, options: &SearchOptions) -> Result<Vec<SearchResult>, ToolError> {
    let answer: Value =
        serde_json::from_str(answer).map_err(|_| ToolError::new("the search endpoint did not answer with JSON"))?;
    let entries = match answer.pointer(&options.results) {
        Some(Value::Array(entries)) => entries.as_slice(),
        // Some leave the list out when it is empty.
        None | Some(Value::Null) => &[],
        Some(_) => {
            return Err(ToolError::new(
                "the search endpoint did not answer with a list of results",
            ));
        }
    };
    let result = |entry: &Value| {
        let text = |pointer: &str| {
            entry
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        SearchResult {
            title: text(&options.title),
            url: text(&options.link),
            snippet: text(&options.snippet),
        }
    };
    Ok(entries.iter().take(options.max_results).map(result).collect())
}

#[async_trait]
impl Tool for Search {
    fn definition(&self) -> ToolDefinition {
        ToolDefinition {
            name: "search".into(),
            description:
                "Searches. Takes several questions and asks them at once; each result has title, url and snippet."
                    .into(),
            parameters: json!({
                "type": "object",
                "properties": {"queries": {
                    "type": "array", "minItems": 1, "maxItems": MOST_QUERIES,
                    "items": {"type": "string", "minLength": 1, "maxLength": 1000}
                }},
                "required": ["queries"],
                "additionalProperties": false
            }),
        }
    }

    fn retry_class(&self) -> RetryClass {
        RetryClass::Safe
    }

    async fn call(&self, call: ToolCall) -> Result<String, ToolError> {
        let Arguments { queries } = super::arguments(call.arguments.clone())?;
        let all = futures::stream::iter(queries.into_iter().take(MOST_QUERIES));
        let all = all.map(|query| self.found(query, call.clone()));
        let found: Vec<Found> = all.buffered(AT_ONCE).collect().await;
        if let [
            Found {
                outcome: Outcome::Error(problem),
                ..
            },
        ] = found.as_slice()
        {
            return Err(ToolError::new(problem.clone()));
        }
        serde_json::to_string(&found).map_err(|_| ToolError::new("the results cannot be shown"))
    }
}

#[cfg(test)]
mod tests;
