//! What is kept in Redis and how it is written and read.
//!
//! ```text
//! <prefix>{run_…}:events    a stream; entry id <epoch>-<last seq + 1>, one field: the message
//! <prefix>{run_…}:live      a channel; the same messages
//! message                   "<epoch> <seqs below this are in the store>\n" and the frames
//! ```
//!
//! Ids grow, so once a later epoch has written, an earlier one cannot; and within an epoch no event comes before one that is there.

use bytes::Bytes;
use callboard_actors::encoding::EncodedEvents;
use callboard_actors::ids::RunId;
use redis::{Cmd, RedisError, Script, Value};

use super::options::RedisLogOptions;
use crate::redis_client::Connection;

/// Adds an entry and, if it was taken, tells those who listen. Answers the id at the top of the stream if that is not below.
const PUBLISH: &str = r"
local added = redis.pcall('XADD', KEYS[1], ARGV[1], 'e', ARGV[2])
if type(added) == 'table' and added.err then
  if not string.find(added.err, 'equal or smaller', 1, true) then
    return added
  end
  local top = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
  if #top == 0 then
    return ARGV[1]
  end
  return top[1][1]
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('PUBLISH', ARGV[4], ARGV[2])
return ''
";

/// Entries read at once.
pub(super) const PAGE: usize = 64;

/// What a writer tells the others.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) epoch: u64,
    /// Seqs below this are in the store.
    pub(super) durable_below: u64,
    pub(super) events: EncodedEvents,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Published {
    /// It is there, and those who listen were told.
    Taken,
    /// The stream already ends at or above it.
    Refused { top_epoch: u64 },
}

/// The end of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Top {
    pub(super) next_seq: u64,
    pub(super) ended: bool,
}

impl Message {
    fn to_bytes(&self) -> Vec<u8> {
        let frames = self.events.bytes();
        let mut bytes = format!("{} {}\n", self.epoch, self.durable_below).into_bytes();
        bytes.extend_from_slice(frames);
        bytes
    }

    /// Reads what [`Message::to_bytes`] gave; `None` if it is something else.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let (head, frames) = bytes.split_at(end);
        let (epoch, durable_below) = std::str::from_utf8(head).ok()?.split_once(' ')?;
        Some(Self {
            epoch: epoch.parse().ok()?,
            durable_below: durable_below.parse().ok()?,
            events: EncodedEvents::from_stored(Bytes::copy_from_slice(&frames[1..])).ok()?,
        })
    }
}

/// The commands, with the names of keys and channels.
pub(super) struct Commands {
    publish: Script,
    prefix: String,
    kept_after_end: u64,
    kept_without_end: u64,
}

impl Commands {
    pub(super) fn new(options: &RedisLogOptions) -> Self {
        let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
        Self {
            publish: Script::new(PUBLISH),
            prefix: options.key_prefix.clone(),
            kept_after_end: millis(options.kept_after_end),
            kept_without_end: millis(options.kept_without_end),
        }
    }

    /// The name of the run's stream. The braces keep all keys of a run at one node of a Cluster.
    pub(super) fn key(&self, run: RunId) -> String {
        format!("{}{{{run}}}:events", self.prefix)
    }

    /// The name of the run's channel.
    pub(super) fn channel(&self, run: RunId) -> String {
        format!("{}{{{run}}}:live", self.prefix)
    }

    /// The run whose channel this is.
    pub(super) fn run_of(&self, channel: &str) -> Option<RunId> {
        let name = channel.strip_prefix(&self.prefix)?.strip_prefix('{')?;
        name.strip_suffix("}:live")?.parse().ok()
    }

    pub(super) async fn publish(
        &self,
        connection: &mut Connection,
        run: RunId,
        message: &Message,
    ) -> Result<Published, RedisError> {
        let events = &message.events;
        let kept = if events.is_terminal() {
            self.kept_after_end
        } else {
            self.kept_without_end
        };
        let top: String = self
            .publish
            .key(self.key(run))
            .arg(format!("{}-{}", message.epoch, events.last_seq() + 1))
            .arg(message.to_bytes())
            .arg(kept)
            .arg(self.channel(run))
            .invoke_async(connection)
            .await?;
        if top.is_empty() {
            return Ok(Published::Taken);
        }
        let (top_epoch, _) = parse_id(&top).ok_or_else(damaged)?;
        Ok(Published::Refused { top_epoch })
    }

    /// At most [`PAGE`] messages with events from `next` on, of this epoch and later ones.
    pub(super) async fn messages(
        &self,
        connection: &mut Connection,
        run: RunId,
        epoch: u64,
        next: u64,
    ) -> Result<Vec<Message>, RedisError> {
        let mut command = Cmd::new();
        command.arg("XRANGE").arg(self.key(run));
        command.arg(format!("{epoch}-{}", next.saturating_add(1))).arg("+");
        command.arg("COUNT").arg(PAGE);
        let answer: Value = command.query_async(connection).await?;
        Ok(entries(answer)?.into_iter().map(|(_, message)| message).collect())
    }

    /// Where the stream ends; `None` if there is no stream.
    pub(super) async fn top(&self, connection: &mut Connection, run: RunId) -> Result<Option<Top>, RedisError> {
        let mut command = Cmd::new();
        command.arg("XREVRANGE").arg(self.key(run)).arg("+").arg("-");
        command.arg("COUNT").arg(1);
        let answer: Value = command.query_async(connection).await?;
        Ok(entries(answer)?.first().map(|(next_seq, message)| Top {
            next_seq: *next_seq,
            ended: message.events.is_terminal(),
        }))
    }
}

fn entries(answer: Value) -> Result<Vec<(u64, Message)>, RedisError> {
    let raw: Vec<(String, Vec<Vec<u8>>)> = redis::from_redis_value(answer)?;
    raw.into_iter()
        .map(|(id, fields)| {
            let (_, next_seq) = parse_id(&id).ok_or_else(damaged)?;
            let message = fields.get(1).and_then(|bytes| Message::from_bytes(bytes));
            Ok((next_seq, message.ok_or_else(damaged)?))
        })
        .collect()
}

fn parse_id(id: &str) -> Option<(u64, u64)> {
    let (epoch, next_seq) = id.split_once('-')?;
    Some((epoch.parse().ok()?, next_seq.parse().ok()?))
}

fn damaged() -> RedisError {
    RedisError::from((
        redis::ErrorKind::UnexpectedReturnType,
        "an entry that is not of this log",
    ))
}
