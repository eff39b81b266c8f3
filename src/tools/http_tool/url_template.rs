//! The address of an HTTP tool: arguments stand behind the host, in the path and in the query, and are escaped for the place.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Url;
use serde_json::{Map, Value};

use super::text_of;
use crate::placeholders::{BoundedText, Placeholder, TextTemplate, TooLong, Unfilled};

/// Bytes of an address; many servers take no more.
pub(super) const LONGEST_URL: usize = 16 * 1024;

/// All but what RFC 3986 calls unreserved.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// An address with placeholders.
#[derive(Debug)]
pub(super) struct UrlTemplate {
    /// Scheme, host and port, which are always the same.
    origin: String,
    /// Between the slashes.
    segments: Vec<TextTemplate>,
    /// Name and value of each pair; a name may stand alone.
    query: Vec<(TextTemplate, Option<TextTemplate>)>,
    /// The address with something for each placeholder: it has the host that all have.
    sample: Url,
}

impl UrlTemplate {
    /// Takes an address apart; the error is a sentence.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let scheme_end = text.find("://").map(|at| at + 3);
        let scheme_end = scheme_end.ok_or("must begin with http:// or https://")?;
        let host_end = text[scheme_end..].find(['/', '?', '#', '\\']).map(|at| scheme_end + at);
        let (origin, rest) = text.split_at(host_end.unwrap_or(text.len()));
        if origin.contains("{{") {
            return Err(
                "no argument can stand in front of the path: whom to ask is not for the model to say".to_owned(),
            );
        }
        if rest.contains('#') {
            return Err("must not have a '#' part: it is never sent".to_owned());
        }
        if rest.contains('\\') {
            return Err("must not have a '\\' in it".to_owned());
        }
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        let part = |text: &str| {
            let template = TextTemplate::parse(text).map_err(|problem| problem.to_string())?;
            if template.secrets().next().is_some() {
                return Err("a secret can only stand in a header: addresses are written to logs".to_owned());
            }
            Ok(template)
        };
        let segments = path.strip_prefix('/').unwrap_or(path).split('/').map(part);
        let pairs = query.into_iter().flat_map(|query| query.split('&'));
        let pairs = pairs.map(|pair| match pair.split_once('=') {
            Some((name, value)) => Ok((part(name)?, Some(part(value)?))),
            None => Ok((part(pair)?, None)),
        });
        let mut template = Self {
            segments: segments.collect::<Result<_, String>>()?,
            query: pairs.collect::<Result<_, String>>()?,
            origin: origin.to_owned(),
            sample: Url::parse(origin).map_err(|_| "is no address")?,
        };
        let arguments = template.arguments().map(|name| (name.to_owned(), Value::from("x")));
        let arguments: Map<String, Value> = arguments.collect();
        template.sample = template.fill(&arguments)?;
        Ok(template)
    }

    /// Names of the arguments in it.
    pub(super) fn arguments(&self) -> impl Iterator<Item = &str> {
        let in_query = self.query.iter();
        let in_query =
            in_query.flat_map(|(name, value)| name.arguments().chain(value.iter().flat_map(TextTemplate::arguments)));
        self.segments.iter().flat_map(TextTemplate::arguments).chain(in_query)
    }

    /// An address with the host that all of its addresses have.
    pub(super) const fn sample(&self) -> &Url {
        &self.sample
    }

    /// Fills in. A pair of the query whose value is one argument that is not there is left out. The error is a sentence for the model.
    pub(super) fn fill(&self, arguments: &Map<String, Value>) -> Result<Url, String> {
        let said = |placeholder: Placeholder<'_>| match placeholder {
            Placeholder::Argument(name) => arguments.get(name).and_then(text_of).map(escaped),
            Placeholder::Secret(_) => None,
        };
        let needed = |placeholder: Placeholder<'_>| match (placeholder, said(placeholder)) {
            (_, Some(value)) => Ok(value),
            (Placeholder::Argument(name), None) => {
                Err(format!("the argument `{name}` is needed: it is part of the address"))
            }
            (Placeholder::Secret(_), None) => Ok(Cow::Borrowed("")),
        };
        let or_nothing = |placeholder: Placeholder<'_>| Ok(said(placeholder).unwrap_or_default());
        let mut text = BoundedText::new(LONGEST_URL);
        text.push(&self.origin).map_err(too_long)?;
        for segment in &self.segments {
            text.push("/").map_err(too_long)?;
            let begin = text.as_str().len();
            segment.fill(&mut text, needed).map_err(told)?;
            // The parser would leave such a segment, or the one before it, out: the call would be another one.
            let filled = text.as_str()[begin..].to_ascii_lowercase().replace("%2e", ".");
            let is_of_arguments = segment.arguments().next().is_some();
            if is_of_arguments && matches!(filled.as_str(), "" | "." | "..") {
                return Err("an argument that is part of the address must not be empty, \".\" or \"..\"".to_owned());
            }
        }
        let mut separator = "?";
        for (name, value) in &self.query {
            let only = value.as_ref().and_then(TextTemplate::only_argument);
            if only.is_some_and(|name| arguments.get(name).and_then(text_of).is_none()) {
                continue;
            }
            text.push(separator).map_err(too_long)?;
            separator = "&";
            name.fill(&mut text, or_nothing).map_err(told)?;
            if let Some(value) = value {
                text.push("=").map_err(too_long)?;
                value.fill(&mut text, or_nothing).map_err(told)?;
            }
        }
        let url = Url::parse(text.as_str()).map_err(|_| "is no address".to_owned())?;
        if url.origin() != self.sample.origin() {
            return Err("is no address".to_owned());
        }
        Ok(url)
    }
}

fn escaped(value: Cow<'_, str>) -> Cow<'_, str> {
    match value {
        Cow::Borrowed(value) => utf8_percent_encode(value, ESCAPED).into(),
        Cow::Owned(value) => utf8_percent_encode(&value, ESCAPED).to_string().into(),
    }
}

/// A sentence for the model.
pub(super) fn too_long(_: TooLong) -> String {
    format!("the address would have more than {LONGEST_URL} bytes with these arguments")
}

fn told(unfilled: Unfilled<String>) -> String {
    match unfilled {
        Unfilled::TooLong => too_long(TooLong),
        Unfilled::NoValue(problem) => problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn filled(template: &str, arguments: Value) -> Result<String, String> {
        let template = UrlTemplate::parse(template).expect(template);
        template
            .fill(arguments.as_object().expect("an object"))
            .map(String::from)
    }

    #[test]
    fn arguments_are_escaped_for_where_they_stand() {
        let template = "https://api.example.com/users/{{id}}/x-{{kind}}?q={{q}}&page={{page}}&fixed=1&all";
        let arguments = json!({"id": "a/b?c#d%2f é", "kind": 7, "q": "x&y=z +\r\n", "page": null});
        assert_eq!(
            filled(template, arguments).as_deref(),
            Ok("https://api.example.com/users/a%2Fb%3Fc%23d%252f%20%C3%A9/x-7?q=x%26y%3Dz%20%2B%0D%0A&fixed=1&all")
        );
        let whole = filled("https://api.example.com?q=a{{q}}b{{r}}", json!({"q": [1, {"a": true}]}));
        assert_eq!(
            whole.as_deref(),
            Ok("https://api.example.com/?q=a%5B1%2C%7B%22a%22%3Atrue%7D%5Db")
        );
        assert_eq!(
            filled("http://h.example", json!({})).as_deref(),
            Ok("http://h.example/")
        );
    }

    #[test]
    fn no_argument_makes_it_another_address() {
        let template = "https://api.example.com/users/{{id}}/delete";
        for id in ["..", ".", "", "%2e%2e"] {
            let filled = filled(template, json!({"id": id}));
            // What is escaped twice is text.
            let is_text = filled
                .as_ref()
                .is_ok_and(|url| url.ends_with("/users/%252e%252e/delete"));
            assert!(filled.is_err() || is_text, "{filled:?}");
        }
        assert!(filled("https://api.example.com/a/.{{x}}", json!({"x": "."})).is_err());
        assert!(filled(template, json!({})).expect_err("it is needed").contains("`id`"));
        let other = filled("https://api.example.com/{{x}}", json!({"x": "//evil.example@"}));
        assert_eq!(other.as_deref(), Ok("https://api.example.com/%2F%2Fevil.example%40"));
    }

    #[test]
    fn an_address_is_filled_up_to_its_bound_and_no_further() {
        // Filled in they would have gigabytes.
        let path = format!("https://api.example.com/{}", "{{x}}".repeat(10_000));
        let query = format!("https://api.example.com/?q={}", "{{x}}".repeat(10_000));
        for template in [path, query] {
            let template = UrlTemplate::parse(&template).expect("its sample has room");
            let arguments = json!({"x": "y".repeat(4_000_000)});
            let problem = template.fill(arguments.as_object().expect("an object"));
            assert_eq!(problem, Err(too_long(TooLong)));
        }
        let literal = format!("https://api.example.com/{}", "y".repeat(LONGEST_URL));
        assert_eq!(UrlTemplate::parse(&literal).expect_err("too long"), too_long(TooLong));
    }

    #[test]
    fn whom_to_ask_is_fixed() {
        for (wrong, problem) in [
            ("https://{{host}}/", "in front of the path"),
            ("https://api.{{host}}.example/", "in front of the path"),
            ("{{scheme}}://example.com/", "in front of the path"),
            ("example.com/x", "must begin with"),
            ("https://example.com/#{{x}}", "'#'"),
            ("https://example.com\\@evil.example/", "'\\'"),
            ("https://example.com/?k={{secret:K}}", "only stand in a header"),
            ("https://example.com/{{x", "without"),
            ("https://", "no address"),
            ("https://exa mple.com/", "no address"),
        ] {
            let told = UrlTemplate::parse(wrong).expect_err(wrong);
            assert!(told.contains(problem), "{wrong}: {told}");
        }
    }
}
