//! Identifiers that say what they are and sort by the time they were made: `run_`, `item_`, … followed by a UUIDv7.

use std::fmt;
use std::str::FromStr;
use std::sync::Mutex;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::{ContextV7, Uuid};

use crate::time::Timestamp;

/// A text that is not an identifier of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an id of the form {prefix}<uuid>")]
pub struct InvalidId {
    prefix: &'static str,
}

/// A UUIDv7 of this moment by [`Timestamp::now`], so that ids of all instances of a fleet sort by time.
fn new_uuid() -> Uuid {
    static IN_ORDER: Mutex<ContextV7> = Mutex::new(ContextV7::new());
    let micros = u64::try_from(Timestamp::now().as_micros()).unwrap_or(0);
    let (seconds, nanos) = (micros / 1_000_000, (micros % 1_000_000) * 1_000);
    Uuid::new_v7(uuid::Timestamp::from_unix(&IN_ORDER, seconds, nanos as u32))
}

macro_rules! typed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// The letters every id of this kind starts with.
            pub const PREFIX: &'static str = $prefix;

            /// A new id; later ids sort after earlier ones.
            #[allow(clippy::new_without_default, reason = "an id made by accident is an id nobody owns")]
            pub fn new() -> Self {
                Self(new_uuid())
            }

            /// The id with this UUID.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID behind the prefix.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!($prefix, "{}"), self.0.as_simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, formatter)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            /// Accepts exactly what `Display` prints, so that an id has one spelling.
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let invalid = InvalidId { prefix: $prefix };
                let rest = text.strip_prefix($prefix).ok_or(invalid.clone())?;
                let spelled_right = rest.len() == 32
                    && rest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
                if !spelled_right {
                    return Err(invalid);
                }
                Uuid::try_parse(rest).map(Self).map_err(|_| invalid)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

typed_id!(
    /// One execution of an agent on an input.
    RunId, "run_"
);
typed_id!(
    /// One conversation: its runs one after the other.
    ThreadId, "thr_"
);
typed_id!(
    /// One durable step of a run.
    ItemId, "item_"
);
typed_id!(
    /// One model call that was made or is to be made, with its hold on a budget and its charge; or a top-up of one.
    ModelCallId, "call_"
);
typed_id!(
    /// One uploaded file.
    FileId, "file_"
);
typed_id!(
    /// One object in the storage of files: the content of a file, or of several that are alike.
    FileObjectId, "object_"
);
typed_id!(
    /// One stored agent.
    AgentId, "agt_"
);
typed_id!(
    /// One API key (its name, not its secret).
    KeyId, "key_"
);
typed_id!(
    /// One running server process.
    InstanceId, "inst_"
);

/// The name of a tenant. Unlike the other ids it is chosen by the operator (`--account acme`), or `local` when the server has no keys.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(std::sync::Arc<str>);

impl AccountId {
    /// Longest accepted name, in bytes.
    pub const MAX_LENGTH: usize = 64;

    /// The account that a server without keys serves.
    pub fn local() -> Self {
        Self("local".into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AccountId {
    type Err = InvalidAccountId;

    fn from_str(text: &str) -> Result<Self, InvalidAccountId> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if text.is_empty() || text.len() > Self::MAX_LENGTH || !text.bytes().all(allowed) {
            return Err(InvalidAccountId);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Serialize for AccountId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for AccountId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A text that cannot name an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an account name is 1 to 64 letters, digits, '-', '_' or '.'")]
pub struct InvalidAccountId;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_itself_and_in_no_other_spelling() {
        let id = RunId::new();
        let text = id.to_string();
        assert_eq!(text.parse(), Ok(id));
        assert!(text.to_uppercase().parse::<RunId>().is_err());
        assert!(text.replace("run_", "item_").parse::<RunId>().is_err());
        assert!(id.uuid().to_string().parse::<RunId>().is_err());
        assert!("run_".parse::<RunId>().is_err());
    }

    #[test]
    fn later_ids_sort_later() {
        let ids: Vec<String> = (0..1000).map(|_| RunId::new().to_string()).collect();
        assert!(ids.is_sorted());
    }

    #[test]
    fn account_names_are_bounded() {
        assert!("acme-1.eu_west".parse::<AccountId>().is_ok());
        for wrong in ["", "a b", "a/b", &"a".repeat(65), "ä"] {
            assert!(wrong.parse::<AccountId>().is_err(), "{wrong}");
        }
    }
}
