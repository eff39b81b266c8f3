//! `[mcp.servers.<name>.oauth]`: a server that wants access tokens.

use reqwest::Url;
use serde::Deserialize;

use super::outbound::SecretConfig;
use super::resolve_providers::check_url;
use super::values;
use crate::outbound::HeaderTemplates;
use crate::tools::mcp::{ClientAuthentication, OauthClient};

/// The table as it is written: each key may be left out, so that each can be judged on its own.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct OauthTable {
    token_url: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    authentication: ClientAuthentication,
    #[serde(deserialize_with = "values::text_or_list")]
    scopes: Vec<String>,
    resource: Option<String>,
    audience: Option<String>,
}

impl OauthTable {
    /// `url` and `headers` are the server's. `refuse` is told each key that is wrong, and why.
    pub(super) fn resolve(
        &self,
        url: &Url,
        headers: &HeaderTemplates,
        secrets: &[(String, SecretConfig)],
        mut refuse: impl FnMut(&str, String),
    ) -> Option<OauthClient> {
        if headers.names().any(|name| name == reqwest::header::AUTHORIZATION) {
            refuse(
                "token_url",
                "the server's headers have an Authorization already".to_owned(),
            );
        }
        let token_url = match &self.token_url {
            None => Err("is missing: where are access tokens to be had?".to_owned()),
            Some(text) => check_url(text, "client_id and client_secret"),
        };
        let token_url = token_url.map_err(|problem| refuse("token_url", problem)).ok();
        let client_id = self.client_id.clone().filter(|id| !id.is_empty());
        if client_id.is_none() {
            let message = "is missing: what does the authorization server call this client?";
            refuse("client_id", message.to_owned());
        }
        let secret = self.client_secret.as_ref();
        let known = secret.and_then(|name| secrets.iter().find(|(known, _)| known == name));
        match (secret, known, &token_url) {
            (None, ..) => refuse(
                "client_secret",
                "is missing: it is the name of one of [secrets]".to_owned(),
            ),
            // The text is not repeated: it may be the secret itself.
            (Some(_), None, _) => refuse("client_secret", "must be the name of one of [secrets]".to_owned()),
            (_, Some((name, secret)), Some(url)) if !secret.hosts.iter().any(|host| host.is_of(url)) => {
                refuse(
                    "client_secret",
                    format!("secrets.{name}.hosts does not allow token_url"),
                );
            }
            _ => {}
        }
        let is_scope = |scope: &String| !scope.is_empty() && scope.bytes().all(|byte| byte.is_ascii_graphic());
        if !self.scopes.iter().all(is_scope) {
            refuse("scopes", "must be names of printable ASCII without spaces".to_owned());
        }
        let resource = self
            .resource
            .as_deref()
            .map_or_else(|| Ok(identifier_of(url)), check_resource);
        let resource = resource.map_err(|problem| refuse("resource", problem)).ok();
        Some(OauthClient {
            token_url: token_url?,
            client_id: client_id?,
            client_secret: known?.0.clone(),
            authentication: self.authentication,
            scopes: self.scopes.clone(),
            resource: resource?,
            audience: self.audience.clone(),
        })
    }
}

/// What a server is called where tokens are given: its address without what one request asks of it (RFC 8707, section 2).
fn identifier_of(url: &Url) -> String {
    let mut identifier = url.clone();
    identifier.set_query(None);
    identifier.set_fragment(None);
    identifier.into()
}

fn check_resource(text: &str) -> Result<String, String> {
    match text.parse::<Url>() {
        Ok(url) if url.fragment().is_none() => Ok(text.to_owned()),
        _ => Err("must be an absolute URI without a fragment".to_owned()),
    }
}
