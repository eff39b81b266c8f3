//! Access tokens for a server that asks for OAuth: the client credentials grant (RFC 6749, section 4.4), for one resource (RFC 8707).

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use oauth2::basic::{BasicClient, BasicErrorResponse, BasicErrorResponseType, BasicTokenResponse};
use oauth2::{
    AsyncHttpClient, AuthType, ClientId, ClientSecret, HttpRequest, HttpResponse, RequestTokenError, Scope,
    TokenResponse, TokenUrl,
};
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use secrecy::ExposeSecret;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::outbound::{Outbound, OutboundError, OutboundRequest};
use crate::secrets::{HiddenSecrets, SecretRefused, Secrets};
use crate::tools::mcp::options::{ClientAuthentication, OauthClient};

/// How long before its end a token is not used any more: what is sent with it has to arrive.
const MARGIN: Duration = Duration::from_secs(30);

/// How long a failure is an answer to whoever asks next, and how long a server that refuses one token after the other gets no new one.
const REST: Duration = Duration::from_secs(5);

/// Bytes of a token, and a time that is longer than any token's.
const LONGEST_TOKEN: usize = 8 * 1024;
const LONGEST_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);

/// Gets tokens, and keeps the one there is. Cheap to clone: all clones have the same token.
#[derive(Clone)]
pub(in crate::tools::mcp) struct TokenSource(Arc<Inner>);

struct Inner {
    server: String,
    client: OauthClient,
    secrets: Arc<Secrets>,
    outbound: Outbound,
    /// Tokens are hidden from the moment on in which they come.
    hidden: HiddenSecrets,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    current: Option<Token>,
    failed: Option<(Instant, NoToken)>,
    replaced_at: Option<Instant>,
}

struct Token {
    bearer: HeaderValue,
    came_at: Instant,
    /// When another one is due; `None` if the authorization server does not say how long it lasts.
    renew_at: Option<Instant>,
}

/// Why there is no token. The sentences are for clients and models: they quote nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::tools::mcp) enum NoToken {
    #[error("{0}")]
    Secret(SecretRefused),
    #[error("its authorization server: {0}")]
    NotReached(OutboundError),
    #[error("its authorization server gives this client no access token")]
    Refused,
    #[error("its authorization server gave an answer that is no access token")]
    Unreadable,
}

impl TokenSource {
    /// `server` is what logs call the MCP server. Tokens are added to what is `hidden`.
    pub(in crate::tools::mcp) fn new(
        server: String,
        client: OauthClient,
        secrets: Arc<Secrets>,
        outbound: Outbound,
        hidden: HiddenSecrets,
    ) -> Self {
        Self(Arc::new(Inner {
            server,
            client,
            secrets,
            outbound,
            hidden,
            state: Mutex::default(),
        }))
    }

    /// What goes into `authorization`: the token there is, or a new one. Of many who ask at once, one gets it, or fails, for all.
    ///
    /// # Errors
    /// There is none to be had.
    pub(super) async fn bearer(&self) -> Result<HeaderValue, NoToken> {
        let asked_at = Instant::now();
        self.bearer_of(&mut *self.0.state.lock().await, asked_at).await
    }

    /// Another one, because the server does not take this one (any more). `None` if it has refused another only just now.
    ///
    /// # Errors
    /// There is none to be had.
    pub(super) async fn another(&self, refused: &HeaderValue) -> Result<Option<HeaderValue>, NoToken> {
        let mut state = self.0.state.lock().await;
        if state.current.as_ref().is_some_and(|token| token.bearer == *refused) {
            if state.replaced_at.is_some_and(|at| at.elapsed() < REST) {
                return Ok(None);
            }
            state.replaced_at = Some(Instant::now());
            state.current = None;
        }
        self.bearer_of(&mut state, Instant::now()).await.map(Some)
    }

    async fn bearer_of(&self, state: &mut State, asked_at: Instant) -> Result<HeaderValue, NoToken> {
        if let Some(token) = &state.current
            // However short-lived, one that came while somebody waited is for him too.
            && (token.came_at >= asked_at || token.renew_at.is_none_or(|at| Instant::now() < at))
        {
            return Ok(token.bearer.clone());
        }
        if let Some((at, reason)) = &state.failed
            && at.elapsed() < REST
        {
            return Err(reason.clone());
        }
        state.current = None;
        // (Boxed: the compiler cannot see through it that the whole may be sent to another thread.)
        match self.0.clone().fetch().boxed().await {
            Ok(token) => {
                state.failed = None;
                Ok(state.current.insert(token).bearer.clone())
            }
            Err(reason) => {
                state.failed = Some((Instant::now(), reason.clone()));
                Err(reason)
            }
        }
    }
}

impl Inner {
    async fn fetch(self: Arc<Self>) -> Result<Token, NoToken> {
        let client = &self.client;
        let auth_type = match client.authentication {
            ClientAuthentication::Basic => AuthType::BasicAuth,
            ClientAuthentication::Post => AuthType::RequestBody,
        };
        let secret = self.secrets.reveal_to_server(&client.client_secret, &client.token_url);
        let secret = secret.map_err(NoToken::Secret)?;
        let oauth = BasicClient::new(ClientId::new(client.client_id.clone()))
            .set_client_secret(ClientSecret::new(secret.expose_secret().to_owned()))
            .set_token_uri(TokenUrl::from_url(client.token_url.clone()))
            .set_auth_type(auth_type);
        let mut asking = oauth
            .exchange_client_credentials()
            .add_scopes(client.scopes.iter().cloned().map(Scope::new))
            .add_extra_param("resource", client.resource.as_str());
        if let Some(audience) = &client.audience {
            asking = asking.add_extra_param("audience", audience);
        }
        let guarded = GuardedClient {
            outbound: self.outbound.clone(),
            token_url: client.token_url.clone(),
        };
        let asked_at = Instant::now();
        let answer = asking.request_async(&guarded).await;
        let answer = answer.map_err(|error| self.refused(&error))?;
        let token = Token::of(&answer, asked_at).ok_or(NoToken::Unreadable)?;
        self.hidden.add(answer.access_token().secret().as_str().into());
        Ok(token)
    }

    fn refused(&self, error: &RequestTokenError<OutboundError, BasicErrorResponse>) -> NoToken {
        let server = &self.server;
        match error {
            RequestTokenError::Request(error) => NoToken::NotReached(error.clone()),
            RequestTokenError::ServerResponse(answer) => {
                let code = match answer.error() {
                    // Whatever it likes to say: it may be long, or what it was sent.
                    BasicErrorResponseType::Extension(_) => "another",
                    known => known.as_ref(),
                };
                tracing::warn!(
                    server,
                    code,
                    "an authorization server refuses a token for an MCP server"
                );
                NoToken::Refused
            }
            RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
                tracing::warn!(server, "an authorization server's answer for an MCP server is no token");
                NoToken::Unreadable
            }
        }
    }
}

/// How `oauth2` sends a request.
struct GuardedClient {
    outbound: Outbound,
    token_url: Url,
}

impl<'client> AsyncHttpClient<'client> for GuardedClient {
    type Error = OutboundError;
    type Future = BoxFuture<'client, Result<HttpResponse, OutboundError>>;

    fn call(&'client self, request: HttpRequest) -> Self::Future {
        let (head, body) = request.into_parts();
        let mut call = OutboundRequest::new(head.method, self.token_url.clone());
        call.headers = head.headers;
        if let Some(mut credentials) = call.headers.remove(AUTHORIZATION) {
            credentials.set_sensitive(true);
            call.private_headers.insert(AUTHORIZATION, credentials);
        }
        call.body = Some(body.into());
        async move {
            let answer = self.outbound.fetch(call, None).await?;
            let mut response = HttpResponse::new(answer.body.into());
            *response.status_mut() = answer.status;
            *response.headers_mut() = answer.headers;
            Ok(response)
        }
        .boxed()
    }
}

impl Token {
    /// `None` if it cannot be sent as a bearer token.
    fn of(answer: &BasicTokenResponse, asked_at: Instant) -> Option<Self> {
        let secret = answer.access_token().secret();
        let is_bearer = answer.token_type().as_ref().eq_ignore_ascii_case("bearer");
        if !is_bearer || secret.is_empty() || secret.len() > LONGEST_TOKEN {
            return None;
        }
        let mut bearer = HeaderValue::from_str(&format!("Bearer {secret}")).ok()?;
        bearer.set_sensitive(true);
        let life = answer.expires_in().map(|life| life.min(LONGEST_LIFE));
        // One that is short-lived is used for at least half of its life.
        let renew_at = life.map(|life| asked_at + life - MARGIN.min(life / 2));
        Some(Self {
            bearer,
            came_at: Instant::now(),
            renew_at,
        })
    }
}
