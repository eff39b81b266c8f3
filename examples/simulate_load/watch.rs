//! One run, from its POST to its last event, and when what happened.

use std::io;
use std::time::{Duration, Instant};

use callboard_actors::time::Timestamp;

use crate::http::{Connection, find};

/// What a client saw of one run. Durations count from the moment before the request was written.
pub(crate) struct Observation {
    pub(crate) run_id: Option<String>,
    /// When the request was written, microseconds since 1970.
    pub(crate) sent_at_us: i64,
    pub(crate) ending: Ending,
    pub(crate) queued: Option<Duration>,
    pub(crate) started: Option<Duration>,
    pub(crate) first_token: Option<Duration>,
    pub(crate) whole: Duration,
    /// Per token that carries its send time: how much later it arrived here, microseconds.
    pub(crate) token_lags_us: Vec<u64>,
}

/// How it ended.
pub(crate) enum Ending {
    Completed,
    /// An error answer; its status and code.
    Refused(String),
    /// The run or its stream failed.
    Failed(String),
}

/// Starts a run over this connection and reads its event stream to the end.
pub(crate) async fn watch_run(connection: &mut Connection, request: &[u8]) -> Observation {
    let mut observation = Observation {
        run_id: None,
        sent_at_us: Timestamp::now().as_micros(),
        ending: Ending::Failed("the stream ended before the run".to_owned()),
        queued: None,
        started: None,
        first_token: None,
        whole: Duration::ZERO,
        token_lags_us: Vec::new(),
    };
    let sent = Instant::now();
    if let Err(error) = observation.follow(connection, request, sent).await {
        observation.ending = Ending::Failed(error.kind().to_string());
    }
    observation.whole = sent.elapsed();
    observation
}

impl Observation {
    /// Whether the server took the run.
    pub(crate) fn was_accepted(&self) -> bool {
        self.run_id.is_some()
    }

    async fn follow(&mut self, connection: &mut Connection, request: &[u8], sent: Instant) -> io::Result<()> {
        let mut head = connection.ask(request).await?;
        self.run_id = head.run_id.take();
        let mut body = Vec::new();
        if head.status != 201 {
            while connection.read_body(&mut head, &mut body).await? {}
            self.ending = Ending::Refused(format!("{} {}", head.status, error_code(&body)));
            return Ok(());
        }
        let mut kind = Kind::Other;
        while connection.read_body(&mut head, &mut body).await? {
            let elapsed = sent.elapsed();
            let Some(last_line_end) = body.iter().rposition(|byte| *byte == b'\n') else {
                continue;
            };
            for line in body[..last_line_end].split(|byte| *byte == b'\n') {
                if let Some(name) = line.strip_prefix(b"event: ") {
                    kind = self.saw(name, elapsed);
                } else if let Some(data) = line.strip_prefix(b"data: ") {
                    self.read_data(kind, data);
                }
            }
            body.drain(..=last_line_end);
        }
        Ok(())
    }

    fn saw(&mut self, event: &[u8], elapsed: Duration) -> Kind {
        match event {
            b"run.queued" => _ = self.queued.get_or_insert(elapsed),
            b"run.started" => _ = self.started.get_or_insert(elapsed),
            b"text.delta" => {
                self.first_token.get_or_insert(elapsed);
                return Kind::Text;
            }
            b"run.completed" => self.ending = Ending::Completed,
            b"run.failed" | b"run.cancelled" => return Kind::Failure,
            _ => {}
        }
        Kind::Other
    }

    fn read_data(&mut self, kind: Kind, data: &[u8]) {
        match kind {
            Kind::Other => {}
            Kind::Failure => self.ending = Ending::Failed(error_code(data)),
            Kind::Text => {
                let Some(delta) = find(data, b"\"delta\":\"t=") else {
                    return;
                };
                let now = Timestamp::now().as_micros();
                let text = String::from_utf8_lossy(&data[delta + 9..]);
                let stamps = text
                    .split(' ')
                    .filter_map(|word| word.strip_prefix("t=")?.parse::<i64>().ok());
                self.token_lags_us
                    .extend(stamps.map(|stamp| u64::try_from(now - stamp).unwrap_or(0)));
            }
        }
    }
}

/// What the data of an event is good for here.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Failure,
    Other,
}

/// The `error.code` of an error body or of a run's last event.
fn error_code(data: &[u8]) -> String {
    let read = serde_json::from_slice::<serde_json::Value>(data).unwrap_or_default();
    read["error"]["code"].as_str().unwrap_or("cancelled").to_owned()
}
