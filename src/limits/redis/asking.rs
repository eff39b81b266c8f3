//! A question to Redis, or a word, and what becomes of it if there is no answer.

use callboard_actors::ports::model::LimitHints;
use callboard_actors::ports::rate_limits::{CallEnd, Grant, Wanted};
use redis::RedisError;
use uuid::Uuid;

use super::Shared;
use super::script::Decision;
use super::standing::{Standing, Word};
use crate::redis_client::{Connection, describe};

/// Redis does not answer in time, or not as it should.
#[derive(Debug)]
pub(super) struct Away;

impl Shared {
    /// Asks Redis; `Err` if it does not answer in time, or not as it should. Then Redis is away.
    pub(super) async fn in_time<T>(&self, asking: impl Future<Output = Result<T, RedisError>>) -> Result<T, Away> {
        let reason = match tokio::time::timeout(self.options.answer_within, asking).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => {
                self.link.report(&error);
                describe(&error)
            }
            Err(_) => "no answer in time".to_owned(),
        };
        self.standing.lost(&reason);
        Err(Away)
    }

    /// Has a look at what Redis counts; `None` if it does not say so in time. Whoever only looks decides nothing, and may ask for more than
    /// a call does: Redis does not count as away for that.
    pub(super) async fn seen_in_time<T>(&self, asking: impl Future<Output = Result<T, RedisError>>) -> Option<T> {
        match tokio::time::timeout(self.options.answer_within, asking).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(error)) => {
                self.link.report(&error);
                tracing::debug!(reason = describe(&error), "Redis does not show how keys are used");
                None
            }
            Err(_) => {
                tracing::debug!("Redis does not show in time how keys are used");
                None
            }
        }
    }

    pub(super) fn connection(&self) -> Result<Connection, Away> {
        let connection = self.link.now();
        if connection.is_none() {
            self.standing.lost("no connection");
        }
        connection.ok_or(Away)
    }

    /// Asks Redis for room.
    pub(super) async fn ask(&self, id: Uuid, wanted: &Wanted) -> Result<Decision, Away> {
        let mut connection = self.connection()?;
        let young_will_do = self.standing.knows_young(&wanted.keys[0].provider);
        // Wherever it would have been granted: nobody will use it.
        let unheard = wanted
            .keys
            .iter()
            .enumerate()
            .map(|(place, _)| grant(id, wanted, place, 0));
        let mut unheard = Unheard {
            standing: &self.standing,
            words: unheard.map(|grant| Word::new(&grant, Some(CallEnd::NotMade))).collect(),
        };
        let decision = self
            .in_time(self.scripts.admit(&mut connection, id, wanted, young_will_do))
            .await?;
        unheard.words.clear();
        Ok(decision)
    }

    pub(super) async fn tell(&self, grant: &Grant, hints: LimitHints, end: Option<CallEnd>) {
        let word = Word::new(grant, end);
        if self.standing.is_away() {
            self.standing.tell_later(word);
            return;
        }
        let mut unheard = Unheard {
            standing: &self.standing,
            words: vec![word],
        };
        let Ok(mut connection) = self.connection() else {
            return;
        };
        let telling = async {
            match &end {
                None => self.scripts.answered(&mut connection, grant, &hints).await,
                Some(end) => self.scripts.settle(&mut connection, grant, end).await,
            }
        };
        if self.in_time(telling).await.is_ok() {
            unheard.words.clear();
        }
    }
}

/// What Redis is told later unless it has heard it: also if whoever says it does not wait until it has.
struct Unheard<'a> {
    standing: &'a Standing,
    words: Vec<Word>,
}

impl Drop for Unheard<'_> {
    fn drop(&mut self) {
        for word in self.words.drain(..) {
            self.standing.tell_later(word);
        }
    }
}

pub(super) fn grant(id: Uuid, wanted: &Wanted, place: usize, tokens: u64) -> Grant {
    let key = &wanted.keys[place];
    Grant {
        id,
        key: place,
        key_name: key.name.clone(),
        provider: key.provider.clone(),
        tokens,
    }
}
