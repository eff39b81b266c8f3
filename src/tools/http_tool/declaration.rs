//! A declared HTTP tool, taken apart and found good as far as that can be said without knowing whose it is.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use callboard_actors::ports::{RetryClass, ToolDefinition};
use callboard_actors::tool_use::{HttpMethod, HttpTool};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, Url};
use serde_json::{Map, Value};

use super::body_template::{BodyFormat, BodyTemplate};
use super::response::ResponseTemplate;
use super::url_template::UrlTemplate;
use crate::outbound::HeaderTemplates;
use crate::tools::schema::CompiledSchema;

/// Calls at once that a tool may ask for.
const MOST_CONCURRENT: u32 = 10_000;

/// A field of a declaration, dotted, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub(in crate::tools) struct FieldProblem {
    pub(in crate::tools) field: String,
    pub(in crate::tools) problem: String,
}

impl FieldProblem {
    pub(super) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
        }
    }
}

/// An HTTP tool, ready to be called.
pub(in crate::tools) struct HttpDeclaration {
    pub(in crate::tools) definition: ToolDefinition,
    pub(in crate::tools) arguments: Arc<CompiledSchema>,
    pub(super) method: Method,
    pub(super) url: UrlTemplate,
    pub(super) headers: HeaderTemplates,
    pub(super) body: Content,
    pub(super) format: BodyFormat,
    pub(super) response: ResponseTemplate,
    pub(super) signing_secret: Option<String>,
    pub(super) retry: RetryClass,
    pub(super) timeout: Option<Duration>,
    pub(super) max_concurrent: Option<u32>,
    /// Arguments that the URL and headers say.
    placed: BTreeSet<String>,
}

impl HttpDeclaration {
    /// Names of the secrets that go along, each with the header field that it is in.
    pub(in crate::tools) fn secrets(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.secrets()
    }

    /// An address that stands for all that it may ask.
    pub(in crate::tools) const fn sample_url(&self) -> &Url {
        self.url.sample()
    }
}

/// What is sent.
pub(super) enum Content {
    /// The arguments that stand nowhere else, in the query.
    RestInQuery,
    /// The same, in the body.
    RestInBody,
    /// This.
    Template(BodyTemplate),
}

impl HttpDeclaration {
    /// `longest` is how long the server lets a call take.
    pub(in crate::tools) fn parse(tool: &HttpTool, longest: Duration) -> Result<Self, FieldProblem> {
        let arguments =
            CompiledSchema::of(&tool.parameters).map_err(|problem| FieldProblem::new("parameters", problem))?;
        let url = UrlTemplate::parse(&tool.url).map_err(|problem| FieldProblem::new("url", problem))?;
        let headers = HeaderTemplates::parse(&tool.headers)
            .map_err(|wrong| FieldProblem::new(format!("headers.{}", wrong.name), wrong.problem))?;
        let body = tool.body.as_ref().map(BodyTemplate::parse).transpose();
        let body = body.map_err(|problem| FieldProblem::new("body", problem))?;
        if body.is_some() && tool.method == HttpMethod::Get {
            return Err(FieldProblem::new("body", "a request with GET has no body"));
        }
        let format = content_type(tool).map_or(BodyFormat::Json, BodyFormat::of);
        check_content(format, body.as_ref(), tool)?;
        let response = ResponseTemplate::parse(tool.response_pointer.as_deref(), tool.response_template.as_deref())
            .map_err(|(field, problem)| FieldProblem::new(field, problem))?;
        check_timeout(tool, longest)?;
        if !tool
            .max_concurrent
            .is_none_or(|most| (1..=MOST_CONCURRENT).contains(&most))
        {
            let problem = format!("must be from 1 to {MOST_CONCURRENT}");
            return Err(FieldProblem::new("max_concurrent", problem));
        }
        let in_url = url.arguments().map(|name| ("url".to_owned(), name));
        let in_headers = headers
            .arguments()
            .map(|(field, name)| (format!("headers.{field}"), name));
        let in_body = body
            .iter()
            .flat_map(BodyTemplate::arguments)
            .map(|name| ("body".to_owned(), name));
        for (field, name) in in_url.chain(in_headers).chain(in_body) {
            if !has_property(&tool.parameters, name) {
                let problem = format!("there is no argument `{name}` among the properties of `parameters`");
                return Err(FieldProblem::new(field, problem));
            }
        }
        let in_headers = headers.arguments().map(|(_, name)| name);
        let placed = url.arguments().chain(in_headers).map(str::to_owned).collect();
        Ok(Self {
            definition: ToolDefinition {
                name: tool.name.clone(),
                description: tool.description.clone(),
                parameters: tool.parameters.clone(),
            },
            arguments,
            method: method_of(tool.method),
            url,
            headers,
            body: match body {
                Some(template) => Content::Template(template),
                None if tool.method.has_body() => Content::RestInBody,
                None => Content::RestInQuery,
            },
            format,
            response,
            signing_secret: tool.signing_secret.clone(),
            retry: tool.retry,
            timeout: tool.timeout_seconds.map(Duration::from_secs),
            max_concurrent: tool.max_concurrent,
            placed,
        })
    }

    /// The arguments that neither URL nor headers say.
    pub(super) fn rest(&self, arguments: &Map<String, Value>) -> Map<String, Value> {
        let rest = arguments.iter().filter(|(name, _)| !self.placed.contains(*name));
        rest.map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

/// What the tool says its body is.
fn content_type(tool: &HttpTool) -> Option<&str> {
    let mut headers = tool.headers.iter();
    let found = headers.find(|(name, _)| name.eq_ignore_ascii_case(CONTENT_TYPE.as_str()));
    found.map(|(_, value)| value.as_str())
}

fn check_content(format: BodyFormat, body: Option<&BodyTemplate>, tool: &HttpTool) -> Result<(), FieldProblem> {
    let fits = match (format, body) {
        (BodyFormat::Json, _) | (BodyFormat::Form, Some(BodyTemplate::Object(_)) | None) => true,
        (BodyFormat::Text, Some(BodyTemplate::Text(_))) => true,
        (BodyFormat::Text, None) => !tool.method.has_body(),
        _ => false,
    };
    if fits {
        return Ok(());
    }
    let problem = match format {
        BodyFormat::Form => "with this content-type the body must be an object",
        _ => "with this content-type the body must be a text",
    };
    Err(FieldProblem::new("body", problem))
}

fn check_timeout(tool: &HttpTool, longest: Duration) -> Result<(), FieldProblem> {
    let most = longest.as_secs().max(1);
    match tool.timeout_seconds {
        Some(seconds) if !(1..=most).contains(&seconds) => {
            let problem = format!("must be from 1 to {most}");
            Err(FieldProblem::new("timeout_seconds", problem))
        }
        _ => Ok(()),
    }
}

fn has_property(schema: &Value, name: &str) -> bool {
    schema["properties"].get(name).is_some()
}

const fn method_of(method: HttpMethod) -> Method {
    match method {
        HttpMethod::Get => Method::GET,
        HttpMethod::Post => Method::POST,
        HttpMethod::Put => Method::PUT,
        HttpMethod::Patch => Method::PATCH,
        HttpMethod::Delete => Method::DELETE,
    }
}
