//! The one connection for commands: kept open, looked after, and given to whoever needs it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::{Cmd, RedisError};
use tokio::sync::{Notify, watch};

use super::address::RedisConnectOptions;
use super::connection::{Connection, Endpoint};

/// How often an idle connection is asked whether it is alive.
const PING_INTERVAL: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Growing pauses between attempts, each jittered so that instances do not come all at once.
pub(crate) struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self {
            next: FIRST_PAUSE,
            longest: LONGEST_PAUSE,
        }
    }

    pub(crate) fn reset(&mut self) {
        self.next = FIRST_PAUSE;
    }

    pub(crate) async fn pause(&mut self) {
        let pause = jittered(self.next);
        self.next = (self.next * 2).min(self.longest);
        tokio::time::sleep(pause).await;
    }
}

/// This time, a quarter more or less.
pub(crate) fn jittered(time: Duration) -> Duration {
    time.mul_f64(rand::random_range(0.75..1.25))
}

/// The connection, while there is one.
pub(crate) struct Link {
    current: watch::Sender<Option<Connection>>,
    suspect: Notify,
    /// The server answers and takes nothing: it is full, or may not be written.
    refuses: AtomicBool,
    when_away: Option<&'static str>,
    response_timeout: Duration,
    connect_timeout: Duration,
}

impl Link {
    /// `when_away` is logged when it breaks: what that means for whoever uses it. `None`: he says so himself.
    pub(crate) fn new(options: &RedisConnectOptions, when_away: Option<&'static str>) -> Self {
        Self {
            when_away,
            current: watch::Sender::new(None),
            suspect: Notify::new(),
            refuses: AtomicBool::new(false),
            response_timeout: options.response_timeout,
            connect_timeout: options.connect_timeout,
        }
    }

    /// The connection, if there is one now.
    pub(crate) fn now(&self) -> Option<Connection> {
        self.current.borrow().clone()
    }

    pub(crate) fn is_up(&self) -> bool {
        self.current.borrow().is_some()
    }

    /// Whether the last thing to be sent was refused by a server that answers.
    pub(crate) fn refuses(&self) -> bool {
        self.refuses.load(Ordering::Relaxed)
    }

    /// Something was sent: it was taken, or this is why not.
    pub(crate) fn heard(&self, error: Option<&RedisError>) {
        let refusal = error.filter(|error| error.code().is_some());
        let has_refused = self.refuses.swap(refusal.is_some(), Ordering::Relaxed);
        let Some(when_away) = self.when_away else { return };
        match refusal {
            Some(refusal) if !has_refused => {
                let reason = describe(refusal);
                tracing::warn!(reason, "Redis takes nothing; {when_away}");
            }
            None if has_refused && error.is_none() => tracing::info!("Redis takes what it is sent again"),
            _ => {}
        }
    }

    /// The connection, as soon as there is one.
    pub(crate) async fn connected(&self) -> Connection {
        let mut current = self.current.subscribe();
        loop {
            if let Some(connection) = current.borrow_and_update().clone() {
                return connection;
            }
            if current.changed().await.is_err() {
                // The sender lives as long as `self`.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Returns as soon as there is no connection.
    pub(crate) async fn disconnected(&self) {
        let mut current = self.current.subscribe();
        // An error would mean that the sender is gone, which lives as long as `self`.
        let _ = current.wait_for(Option::is_none).await;
    }

    /// Somebody's command failed: have a look. An error that the server gave on purpose says nothing about the connection, unless it says
    /// that this is not the server to talk to.
    pub(crate) fn report(&self, error: &RedisError) {
        if error.code() == Some("READONLY") {
            self.current.send_replace(None);
        }
        self.suspect.notify_one();
    }

    /// Keeps a connection open, for ever.
    pub(crate) async fn keep(&self, endpoint: Arc<Endpoint>) {
        let mut backoff = Backoff::new();
        let mut said = false;
        loop {
            let attempt = tokio::time::timeout(self.connect_timeout * 2, endpoint.connect()).await;
            let trouble = match attempt {
                Ok(Ok(connection)) => {
                    if self.when_away.is_some() {
                        tracing::info!("connected to Redis");
                    }
                    said = false;
                    let trouble = self.watch(connection).await;
                    backoff.reset();
                    trouble
                }
                Ok(Err(error)) => describe(&error),
                Err(_) => "no answer in time".to_owned(),
            };
            self.current.send_replace(None);
            if !std::mem::replace(&mut said, true)
                && let Some(when_away) = self.when_away
            {
                tracing::warn!(reason = trouble, "Redis is away; {when_away}");
            }
            backoff.pause().await;
        }
    }

    /// Lends the connection out until it breaks, and says why it did.
    async fn watch(&self, connection: Connection) -> String {
        let mut own = connection.clone();
        // Nobody gets a connection to a server that is still loading its data.
        if let Err(trouble) = self.ping(&mut own).await {
            return trouble;
        }
        self.refuses.store(false, Ordering::Relaxed);
        self.current.send_replace(Some(connection));
        loop {
            tokio::select! {
                () = tokio::time::sleep(PING_INTERVAL) => {}
                () = self.suspect.notified() => {}
            }
            if !self.is_up() {
                return "the server is a read-only replica".to_owned();
            }
            if let Err(trouble) = self.ping(&mut own).await {
                return trouble;
            }
        }
    }

    async fn ping(&self, connection: &mut Connection) -> Result<(), String> {
        let mut command = Cmd::new();
        command.arg("PING");
        match tokio::time::timeout(self.response_timeout, command.exec_async(connection)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(describe(&error)),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }
}

/// What went wrong, without details that may repeat an address or a user.
pub(crate) fn describe(error: &RedisError) -> String {
    match error.code() {
        Some(code) => format!("{}: {code}", error.category()),
        None => error.category().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis_client::RedisAddress;
    use crate::telemetry::testing::LogCapture;

    #[test]
    fn a_redis_that_takes_nothing_is_one_line_and_its_end_another() {
        let log = LogCapture::start("info");
        let options = RedisConnectOptions {
            address: RedisAddress::Cluster(Vec::new()),
            ca_file: None,
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_secs(1),
        };
        let link = Link::new(&options, Some("events stay here"));
        link.heard(None);
        let full = redis::make_extension_error("OOM".to_owned(), None);
        for _ in 0..100 {
            link.heard(Some(&full));
        }
        let text = log.text();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(
            text.contains("WARN") && text.contains("Redis takes nothing; events stay here"),
            "{text}"
        );
        assert!(text.contains("OOM") && link.refuses(), "{text}");
        link.heard(None);
        link.heard(None);
        let text = log.text();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("Redis takes what it is sent again"), "{text}");
    }
}
