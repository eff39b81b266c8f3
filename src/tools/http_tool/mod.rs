//! Web endpoints as tools: a declaration says how arguments become a request, and what of the answer the model sees.

mod body_template;
mod declaration;
mod response;
mod sending;
mod signing;
mod url_template;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use callboard_actors::ids::AccountId;
use callboard_actors::ports::{RetryClass, Tool, ToolCall, ToolDefinition, ToolError};
use callboard_actors::time::Timestamp;
use reqwest::Url;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use secrecy::SecretString;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use self::body_template::{LONGEST_BODY, append_pairs};
use self::declaration::Content;
pub(super) use self::declaration::{FieldProblem, HttpDeclaration};
use self::url_template::{LONGEST_URL, too_long};
use super::ToolReach;
use crate::outbound::OutboundRequest;
use crate::placeholders::{Room, TooLong};
use crate::places::Places;
use crate::secrets::{HiddenSecrets, SecretRefused};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

impl HttpDeclaration {
    /// Whether this account may have such a request sent.
    pub(super) fn check_for(&self, account: &AccountId, reach: &ToolReach) -> Result<(), FieldProblem> {
        let url = self.url.sample();
        let reachable = reach.outbound.check(url);
        reachable.map_err(|error| FieldProblem::new("url", error.to_string()))?;
        for (field, name) in self.headers.secrets() {
            let revealed = reach.secrets.reveal(name, account, url);
            revealed.map_err(|refused| FieldProblem::new(format!("headers.{field}"), refused.to_string()))?;
        }
        if let Some(name) = &self.signing_secret {
            let wrong = |problem: String| FieldProblem::new("signing_secret", problem);
            let revealed = reach.secrets.reveal(name, account, url);
            let secret = revealed.map_err(|refused| wrong(refused.to_string()))?;
            signing::check_key(secret).map_err(|problem| wrong(problem.to_string()))?;
        }
        Ok(())
    }
}

/// Who declared a tool: whose secrets it uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DeclaredBy {
    Account,
    Configuration,
}

/// A declared HTTP tool.
pub(super) struct DeclaredHttpTool {
    declaration: Arc<HttpDeclaration>,
    declared_by: DeclaredBy,
    reach: ToolReach,
    places: Option<Arc<Semaphore>>,
}

impl DeclaredHttpTool {
    /// One that the configuration declares.
    pub(super) fn of_configuration(declaration: HttpDeclaration, reach: ToolReach) -> Self {
        Self {
            declaration: Arc::new(declaration),
            declared_by: DeclaredBy::Configuration,
            reach,
            places: None,
        }
    }

    /// One that this account declares.
    pub(super) fn new(
        declaration: Arc<HttpDeclaration>,
        account: &AccountId,
        places: &Places,
        reach: &ToolReach,
    ) -> Self {
        let own_places = declaration.max_concurrent.map(|most| {
            let endpoint = declaration.url.sample().origin().ascii_serialization();
            let key = format!("{account} {} {endpoint}", declaration.definition.name);
            places.of(&key, most as usize)
        });
        Self {
            declaration,
            declared_by: DeclaredBy::Account,
            reach: reach.clone(),
            places: own_places,
        }
    }

    /// Whether what the configuration declares may have its secrets.
    pub(super) fn check_secrets(&self) -> Result<(), FieldProblem> {
        let url = self.declaration.url.sample();
        for (field, name) in self.declaration.headers.secrets() {
            let revealed = self.reach.secrets.reveal_to_server(name, url);
            revealed.map_err(|refused| FieldProblem::new(format!("headers.{field}"), refused.to_string()))?;
        }
        Ok(())
    }

    fn secret(&self, name: &str, account: &AccountId, url: &Url) -> Result<&SecretString, SecretRefused> {
        match self.declared_by {
            DeclaredBy::Account => self.reach.secrets.reveal(name, account, url),
            DeclaredBy::Configuration => self.reach.secrets.reveal_to_server(name, url),
        }
    }

    /// The request for these arguments, without what is signed anew for each try.
    fn request(
        &self,
        account: &AccountId,
        key: &str,
        arguments: &Map<String, Value>,
    ) -> Result<OutboundRequest, ToolError> {
        let declaration = &self.declaration;
        let mut url = declaration.url.fill(arguments).map_err(ToolError::new)?;
        let argument = |name: &str| arguments.get(name).and_then(text_of);
        let secret = |name: &str| self.secret(name, account, &url);
        let filled = declaration.headers.fill(argument, secret);
        let filled = filled.map_err(|wrong| ToolError::new(format!("the header {}: {}", wrong.name, wrong.problem)))?;
        let body = self.place_rest(&mut url, arguments).map_err(ToolError::new)?;
        let body = body.map(|body| declaration.format.written(&body)).transpose();
        let body = body.map_err(ToolError::new)?;
        let mut request = OutboundRequest {
            headers: filled.headers,
            private_headers: filled.private_headers,
            body: body.map(Into::into),
            ..OutboundRequest::new(declaration.method.clone(), url)
        };
        if request.body.is_some() {
            set_if_absent(&mut request, CONTENT_TYPE, declaration.format.content_type());
        }
        let accepted = HeaderValue::from_static("application/json, text/*;q=0.9, */*;q=0.5");
        set_if_absent(&mut request, ACCEPT, accepted);
        // One call may ask an endpoint of the configuration several things: they are not one and the same.
        if let Ok(key) = HeaderValue::from_str(key)
            && self.declared_by == DeclaredBy::Account
        {
            set_if_absent(&mut request, IDEMPOTENCY_KEY, key);
        }
        Ok(request)
    }

    /// The body, if there is one; what has no other place goes there or into the query. The error is a sentence for the model.
    fn place_rest(&self, url: &mut Url, arguments: &Map<String, Value>) -> Result<Option<Value>, String> {
        let declaration = &self.declaration;
        let mut room = Room::of(LONGEST_BODY);
        let body = match &declaration.body {
            Content::RestInQuery => return append_to_query(url, &declaration.rest(arguments)).map(|()| None),
            Content::RestInBody => {
                let rest = Value::Object(declaration.rest(arguments));
                room.take_value(&rest).map(|()| Some(rest))
            }
            Content::Template(template) => template.fill(arguments, &mut room),
        };
        body.map_err(|TooLong| format!("the body would have more than {LONGEST_BODY} bytes with these arguments"))
    }

    fn sign(&self, request: &mut OutboundRequest, account: &AccountId, key: &str) -> Result<(), ToolError> {
        let Some(name) = &self.declaration.signing_secret else {
            return Ok(());
        };
        let secret = self.secret(name, account, &request.url);
        let secret = secret.map_err(|refused| ToolError::new(refused.to_string()))?;
        let body = request.body.as_deref().unwrap_or_default();
        let now = Timestamp::now().as_micros() / 1_000_000;
        let signed = signing::signature_headers(secret, key, now, body);
        let signed = signed.map_err(|problem| ToolError::new(problem.to_string()))?;
        request.private_headers.extend(signed);
        Ok(())
    }

    /// A server that says again what it was sent must not give these away.
    fn hidden(&self, account: &AccountId) -> HiddenSecrets {
        let of_headers = self.declaration.headers.secrets().map(|(_, name)| name);
        let names = of_headers.chain(self.declaration.signing_secret.as_deref());
        let url = self.declaration.url.sample();
        HiddenSecrets::new(names.filter_map(|name| self.secret(name, account, url).ok()))
    }
}

#[async_trait]
impl Tool for DeclaredHttpTool {
    fn definition(&self) -> ToolDefinition {
        self.declaration.definition.clone()
    }

    fn retry_class(&self) -> RetryClass {
        self.declaration.retry
    }

    fn timeout(&self) -> Option<Duration> {
        self.declaration.timeout
    }

    fn places(&self, _account: &AccountId) -> Vec<Arc<Semaphore>> {
        self.places.clone().into_iter().collect()
    }

    fn label(&self) -> Arc<str> {
        "http".into()
    }

    async fn call(&self, call: ToolCall) -> Result<String, ToolError> {
        let Value::Object(arguments) = &call.arguments else {
            return Err(ToolError::new("the arguments must be an object"));
        };
        // The same for every try, also after a crash.
        let key = format!("{}/{}", call.run_id, call.item_id);
        let request = self.request(&call.account, &key, arguments)?;
        let answer = self.answer(&request, &call.account, &key).await?;
        let (declaration, hidden) = (self.declaration.clone(), self.hidden(&call.account));
        let most = self.reach.outbound.max_response();
        let shown = self
            .reach
            .work_through(&call.account, answer.body.len(), move || match answer.status {
                status if status.is_client_error() || status.is_server_error() => {
                    Err(response::failure(&answer, &hidden))
                }
                _ => declaration.response.shown(&answer, &hidden, most),
            });
        shown.await?
    }
}

fn set_if_absent(request: &mut OutboundRequest, name: HeaderName, value: HeaderValue) {
    if !request.headers.contains_key(&name) && !request.private_headers.contains_key(&name) {
        request.headers.insert(name, value);
    }
}

/// The error is a sentence for the model.
fn append_to_query(url: &mut Url, arguments: &Map<String, Value>) -> Result<(), String> {
    if arguments.is_empty() {
        return Ok(());
    }
    // As they are written they may be longer, but never shorter.
    let mut room = Room::of(LONGEST_URL);
    let mut query = url.query_pairs_mut();
    let appended = append_pairs(arguments, |name, value| {
        room.take(name.len() + value.len())?;
        query.append_pair(name, value);
        Ok::<_, TooLong>(())
    });
    drop(query);
    let fits = appended.is_ok() && url.as_str().len() <= LONGEST_URL;
    fits.then_some(()).ok_or_else(|| too_long(TooLong))
}

/// A value as text: a text as it is, nothing as nothing, all else as JSON.
fn text_of(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(Cow::Borrowed(text)),
        other => Some(Cow::Owned(other.to_string())),
    }
}
