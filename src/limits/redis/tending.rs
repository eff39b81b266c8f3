//! Background work: finding out whether Redis is back, and telling it what it has not heard.

use std::sync::Arc;

use callboard_actors::ports::model::LimitHints;
use callboard_actors::ports::rate_limits::{CallEnd, KeyLimits, LimitedKey, Wanted};
use uuid::Uuid;

use super::Shared;
use super::asking::grant;
use crate::redis_client::{Connection, jittered};

impl Shared {
    /// Tells Redis what it has not heard, and finds out whether it is back, for ever.
    pub(super) async fn tend(&self) {
        loop {
            let connection = self.link.connected().await;
            if self.standing.is_away() {
                if !self.come_back(connection).await {
                    tokio::time::sleep(jittered(self.options.alone_for)).await;
                }
                continue;
            }
            tokio::select! {
                () = self.standing.work.notified() => {}
                () = self.link.disconnected() => self.standing.lost("no connection"),
            }
            if self.standing.is_away() {
                tokio::time::sleep(jittered(self.options.alone_for)).await;
            } else {
                self.tell_all(connection).await;
            }
        }
    }

    /// Whether Redis answers, and has heard everything.
    async fn come_back(&self, connection: Connection) -> bool {
        if !self.try_out(connection.clone()).await {
            return false;
        }
        loop {
            if !self.tell_all(connection.clone()).await {
                return false;
            }
            if self.standing.found() {
                return true;
            }
        }
    }

    /// Whether Redis does all that is needed: a key that nobody has is granted, and given back.
    async fn try_out(&self, mut connection: Connection) -> bool {
        let wanted = Wanted {
            keys: Arc::new([LimitedKey {
                name: "trial".into(),
                provider: "trial".into(),
                limits: KeyLimits::default(),
            }]),
            tokens: 0,
            lease: self.options.alone_for,
        };
        let grant = grant(Uuid::now_v7(), &wanted, 0, 0);
        let trying = async {
            self.scripts.admit(&mut connection, grant.id, &wanted, true).await?;
            self.scripts.settle(&mut connection, &grant, &CallEnd::NotMade).await
        };
        self.in_time(trying).await.is_ok()
    }

    /// Whether Redis has heard everything.
    async fn tell_all(&self, mut connection: Connection) -> bool {
        while let Some(word) = self.standing.next_word() {
            let telling = async {
                match word.end_told_late() {
                    None => {
                        let nothing = LimitHints::default();
                        self.scripts.answered(&mut connection, &word.grant, &nothing).await
                    }
                    Some(end) => self.scripts.settle(&mut connection, &word.grant, &end).await,
                }
            };
            if self.in_time(telling).await.is_err() {
                self.standing.put_back(word);
                return false;
            }
        }
        true
    }
}
