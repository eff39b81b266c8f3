//! Bytes → JSON value, stricter than usual: a field that comes twice is an error (which of the two did the client mean?), and so is a
//! NUL character, which not every store can keep.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::http::error::{ApiError, ErrorCode};

/// Reads one JSON value and nothing after it.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, ApiError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        ApiError::new(
            ErrorCode::InvalidUtf8,
            format!("the body is not UTF-8: the byte at {} is wrong", error.valid_up_to()),
        )
    })?;
    if text.trim().is_empty() {
        return Err(ApiError::new(
            ErrorCode::EmptyBody,
            "the body is empty; it must be a JSON object",
        ));
    }
    let path = RefCell::new(String::new());
    let refusal = Cell::new(None);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let parsed = StrictValue {
        path: &path,
        refusal: &refusal,
    }
    .deserialize(&mut deserializer)
    .and_then(|value| deserializer.end().map(|()| value));
    parsed.map_err(|error| match refusal.take() {
        Some(Refusal::Duplicate(param)) => {
            ApiError::new(ErrorCode::DuplicateField, format!("the field `{param}` comes twice")).with_param(param)
        }
        Some(Refusal::Nul(param)) => ApiError::new(
            ErrorCode::InvalidValue,
            format!("`{param}` has a NUL character in it, which cannot be stored"),
        )
        .with_param(param),
        None => ApiError::new(ErrorCode::InvalidJson, format!("the body is not valid JSON: {error}")),
    })
}

enum Refusal {
    Duplicate(String),
    Nul(String),
}

/// Knows where in the document it is, for errors.
#[derive(Clone, Copy)]
struct StrictValue<'a> {
    path: &'a RefCell<String>,
    refusal: &'a Cell<Option<Refusal>>,
}

impl StrictValue<'_> {
    /// Reads what is below `segment`; the path is restored only on success, which is when it is needed again.
    fn enter(&self, segment: &str) -> usize {
        let mut path = self.path.borrow_mut();
        let before = path.len();
        if !path.is_empty() && !segment.starts_with('[') {
            path.push('.');
        }
        path.push_str(segment);
        before
    }

    fn leave(&self, before: usize) {
        self.path.borrow_mut().truncate(before);
    }

    fn refuse<E: serde::de::Error>(&self, refusal: fn(String) -> Refusal) -> E {
        self.refusal.set(Some(refusal(self.path.borrow().clone())));
        E::custom("refused")
    }
}

impl<'de> DeserializeSeed<'de> for StrictValue<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictValue<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.visit_string(value.to_owned())
    }

    fn visit_string<E: serde::de::Error>(self, value: String) -> Result<Value, E> {
        if value.contains('\0') {
            return Err(self.refuse(Refusal::Nul));
        }
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        loop {
            let before = self.enter(&format!("[{}]", values.len()));
            let next = access.next_element_seed(self)?;
            self.leave(before);
            match next {
                Some(value) => values.push(value),
                None => return Ok(Value::Array(values)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let before = self.enter(&key);
            if key.contains('\0') {
                return Err(self.refuse(Refusal::Nul));
            }
            if map.contains_key(&key) {
                return Err(self.refuse(Refusal::Duplicate));
            }
            let value = access.next_value_seed(self)?;
            self.leave(before);
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &[u8]) -> (ErrorCode, Value) {
        let error = parse(text).expect_err("refused");
        (error.code(), error.body(None)["error"]["param"].clone())
    }

    #[test]
    fn good_json_is_read_as_it_is() {
        let text = r#"{"a":[1,-2,0.5,true,null,"ü\n"],"b":{"c":{}}}"#;
        assert_eq!(parse(text.as_bytes()), Ok(serde_json::from_str(text).expect("JSON")));
    }

    #[test]
    fn each_fault_is_named() {
        assert_eq!(refusal(b"").0, ErrorCode::EmptyBody);
        assert_eq!(refusal(b" \n").0, ErrorCode::EmptyBody);
        assert_eq!(refusal(b"{").0, ErrorCode::InvalidJson);
        assert_eq!(refusal(b"{} {}").0, ErrorCode::InvalidJson);
        assert_eq!(refusal(b"{\"a\":\"\xff\"}").0, ErrorCode::InvalidUtf8);
        assert_eq!(refusal("[".repeat(200).as_bytes()).0, ErrorCode::InvalidJson);
        let twice = refusal(br#"{"x":1,"m":[0,{"a":{"b":1,"b":2}}]}"#);
        assert_eq!(twice, (ErrorCode::DuplicateField, "m[1].a.b".into()));
        let nul = refusal(br#"{"m":["ok","\u0000"]}"#);
        assert_eq!(nul, (ErrorCode::InvalidValue, "m[1]".into()));
    }
}
