//! What instances tell each other through the database as it happens: `NOTIFY`, heard by `LISTEN`.
//!
//! Nothing depends on it. A database without notifications, a connection that broke, a notice that was lost: of runs the next heartbeat tells
//! the same, a little later; keys and agents are kept for some seconds only.

use std::sync::Arc;
use std::time::Duration;

use callboard_actors::ids::{AgentId, InstanceId, RunId};
use callboard_actors::ports::fleet::Notice;
use futures::stream::{BoxStream, StreamExt};
use sqlx::Connection;
use sqlx::postgres::PgListener;
use tokio::runtime::Handle;
use tokio::sync::{Notify, broadcast};

use crate::store::postgres::open::Connector;
use crate::store::postgres::pool::Pool;

/// Notices that a slow listener may be behind before it is told that it has missed some.
const BACKLOG: usize = 1024;
/// Many runs that become claimable at once are one notice.
const COALESCE: Duration = Duration::from_millis(5);
/// After so much silence the connection is taken for dead and made anew: a network may swallow one without a word.
const LONGEST_SILENCE: Duration = Duration::from_secs(30);
/// Between attempts to listen.
const PAUSE: Duration = Duration::from_secs(2);
const TELL: &str = "SELECT pg_notify($1, $2)";

/// Tells and hears. Cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::store::postgres) struct Notices {
    channel: Arc<str>,
    pool: Pool,
    connect: Arc<Connector>,
    claimable: Arc<Notify>,
    heard: broadcast::Sender<Notice>,
}

impl Notices {
    /// Starts the tasks that tell and hear, on `runtime`; they end when the pool is closed.
    pub(in crate::store::postgres) fn start(channel: String, pool: Pool, connect: Connector, runtime: &Handle) -> Self {
        let notices = Self {
            channel: channel.into(),
            pool,
            connect: Arc::new(connect),
            claimable: Arc::default(),
            heard: broadcast::Sender::new(BACKLOG),
        };
        runtime.spawn(notices.clone().tell_of_claimable_runs());
        runtime.spawn(notices.clone().hear());
        notices
    }

    /// Some queued run may be able to start now. Returns at once.
    pub(in crate::store::postgres) fn claimable(&self) {
        self.claimable.notify_one();
    }

    pub(super) async fn cancel_asked(&self, run: RunId, owner: InstanceId) {
        self.tell(&format!("cancel {run} {owner}")).await;
    }

    pub(in crate::store::postgres) async fn agent_changed(&self, agent: AgentId) {
        self.tell(&format!("agent {agent}")).await;
    }

    pub(in crate::store::postgres) async fn keys_changed(&self) {
        self.tell("keys").await;
    }

    /// What is heard from now on.
    pub(super) fn listen(&self) -> BoxStream<'static, Notice> {
        let heard = self.heard.subscribe();
        futures::stream::unfold(heard, |mut heard| async move {
            match heard.recv().await {
                Ok(notice) => Some((notice, heard)),
                Err(broadcast::error::RecvError::Lagged(_)) => Some((Notice::Missed, heard)),
                // The store is closed: there will be nothing more, but the contract says that this never ends.
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        })
        .boxed()
    }

    async fn tell(&self, text: &str) {
        let tell = sqlx::query(TELL).bind(self.channel.to_string()).bind(text);
        if let Err(error) = self.pool.execute(tell).await {
            tracing::debug!(%error, "other instances were not told; they will find it");
        }
    }

    async fn tell_of_claimable_runs(self) {
        let pool = self.pool.inner();
        while !pool.is_closed() {
            tokio::select! {
                () = self.claimable.notified() => {}
                () = pool.close_event() => return,
            }
            self.tell("claimable").await;
            tokio::time::sleep(COALESCE).await;
        }
    }

    async fn hear(self) {
        let mut has_failed = false;
        let closed = self.pool.inner().close_event();
        let hearing = async {
            loop {
                if let Err(error) = self.hear_until_silence().await {
                    if !std::mem::replace(&mut has_failed, true) {
                        tracing::info!(%error, "the database does not bring notices; heartbeats bring the same, later");
                    }
                    self.look().await;
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::select! {
            () = closed => {}
            () = hearing => {}
        }
    }

    async fn hear_until_silence(&self) -> Result<(), sqlx::Error> {
        let mut listener = PgListener::connect_with(&self.connect.pool_of_one()).await?;
        listener.listen(&self.channel).await?;
        // Whatever was told before this moment was not heard.
        self.pass_on(Notice::Missed);
        while let Ok(heard) = tokio::time::timeout(LONGEST_SILENCE, listener.try_recv()).await {
            match heard? {
                Some(notification) => {
                    if let Some(notice) = parse(notification.payload()) {
                        self.pass_on(notice);
                    }
                }
                // The connection broke and was made anew.
                None => self.pass_on(Notice::Missed),
            }
        }
        Ok(())
    }

    /// Notes whether the database can be reached at all: this is who hears first that it goes, even if nobody asks it for anything.
    async fn look(&self) {
        if let Ok(connection) = self.connect.connect().await {
            // How it ends does not matter.
            let _ = connection.close().await;
        }
    }

    fn pass_on(&self, notice: Notice) {
        // Nobody may listen.
        let _ = self.heard.send(notice);
    }
}

/// `None`: of a version that tells more than this one knows.
fn parse(text: &str) -> Option<Notice> {
    let mut words = text.split(' ');
    match words.next()? {
        "claimable" => Some(Notice::Claimable),
        "keys" => Some(Notice::KeysChanged),
        "agent" => Some(Notice::AgentChanged(words.next()?.parse().ok()?)),
        "cancel" => Some(Notice::CancelAsked {
            run: words.next()?.parse().ok()?,
            owner: words.next()?.parse().ok()?,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_read_back() {
        let (run, owner) = (RunId::new(), InstanceId::new());
        assert_eq!(
            parse(&format!("cancel {run} {owner}")),
            Some(Notice::CancelAsked { run, owner })
        );
        let agent = AgentId::new();
        assert_eq!(parse(&format!("agent {agent}")), Some(Notice::AgentChanged(agent)));
        assert_eq!(parse("claimable"), Some(Notice::Claimable));
        assert_eq!(parse("keys"), Some(Notice::KeysChanged));
        assert_eq!(parse("cancel run_1"), None);
        assert_eq!(parse("of a later version"), None);
    }
}
