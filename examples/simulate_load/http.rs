//! A small HTTP/1.1 client on a bare TCP connection.
//!
//! The load shares its machine with the server it measures, so what the client spends is taken from the server. This one writes a request
//! that was rendered once and looks only at what it needs of the answer.

use std::io;
use std::net::SocketAddr;

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A keep-alive connection, one request at a time.
pub(crate) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    /// How much of `received` has been used.
    used: usize,
}

/// The beginning of an answer.
pub(crate) struct Head {
    pub(crate) status: u16,
    /// The run that was started, as the header `x-run-id` of a streamed answer names it.
    pub(crate) run_id: Option<String>,
    framing: Framing,
}

/// Where in the body the connection stands.
enum Framing {
    /// So many bytes follow, and nothing else.
    Length(usize),
    ChunkSize,
    ChunkData(usize),
    /// The line break after a chunk's data.
    ChunkEnd,
    /// The empty line after the last chunk.
    Trailer,
    Done,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            received: Vec::new(),
            used: 0,
        })
    }

    /// Sends a rendered request and reads the head of its answer.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> io::Result<Head> {
        self.stream.write_all(request).await?;
        loop {
            let unread = &self.received[self.used..];
            if let Some(end) = find(unread, b"\r\n\r\n") {
                let head = Head::parse(&unread[..end])?;
                self.used += end + 4;
                return Ok(head);
            }
            self.receive().await?;
        }
    }

    /// Sends a rendered request and reads the JSON of its answer. An error if that is one.
    pub(crate) async fn ask_for_json(&mut self, request: &[u8]) -> anyhow::Result<Value> {
        let mut head = self.ask(request).await?;
        let mut body = Vec::new();
        while self.read_body(&mut head, &mut body).await? {}
        if !matches!(head.status, 200 | 201) {
            bail!("answered {}: {}", head.status, String::from_utf8_lossy(&body));
        }
        Ok(serde_json::from_slice(&body)?)
    }

    /// Appends what has come of the body, at least one byte. False once all of it was read.
    pub(crate) async fn read_body(&mut self, head: &mut Head, body: &mut Vec<u8>) -> io::Result<bool> {
        let before = body.len();
        loop {
            self.take_body(&mut head.framing, body)?;
            if body.len() > before {
                return Ok(true);
            }
            if matches!(head.framing, Framing::Done) {
                return Ok(false);
            }
            self.receive().await?;
        }
    }

    /// Moves the part of the body that was received already.
    fn take_body(&mut self, framing: &mut Framing, body: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let unread = &self.received[self.used..];
            match framing {
                Framing::Length(0) => *framing = Framing::Done,
                Framing::Length(left) | Framing::ChunkData(left) if unread.is_empty() && *left > 0 => return Ok(()),
                Framing::Length(left) => {
                    let taken = unread.len().min(*left);
                    body.extend_from_slice(&unread[..taken]);
                    self.used += taken;
                    *left -= taken;
                }
                Framing::ChunkSize => {
                    let Some(end) = find(unread, b"\r\n") else {
                        return Ok(());
                    };
                    let digits = std::str::from_utf8(&unread[..end]).unwrap_or_default();
                    let size = usize::from_str_radix(digits, 16).map_err(|_| malformed("a chunk size"))?;
                    self.used += end + 2;
                    *framing = if size == 0 {
                        Framing::Trailer
                    } else {
                        Framing::ChunkData(size)
                    };
                }
                Framing::ChunkData(left) => {
                    let taken = unread.len().min(*left);
                    body.extend_from_slice(&unread[..taken]);
                    self.used += taken;
                    *left -= taken;
                    if *left == 0 {
                        *framing = Framing::ChunkEnd;
                    }
                }
                Framing::ChunkEnd | Framing::Trailer => {
                    if unread.len() < 2 {
                        return Ok(());
                    }
                    self.used += 2;
                    *framing = match framing {
                        Framing::Trailer => Framing::Done,
                        _ => Framing::ChunkSize,
                    };
                }
                Framing::Done => return Ok(()),
            }
        }
    }

    async fn receive(&mut self) -> io::Result<()> {
        if self.used > 0 {
            self.received.drain(..self.used);
            self.used = 0;
        }
        self.received.reserve(4096);
        match self.stream.read_buf(&mut self.received).await? {
            0 => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the server closed the connection",
            )),
            _ => Ok(()),
        }
    }
}

impl Head {
    fn parse(text: &[u8]) -> io::Result<Self> {
        let text = std::str::from_utf8(text).map_err(|_| malformed("a head"))?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let mut head = Self {
            status: status
                .and_then(|digits| digits.parse().ok())
                .ok_or_else(|| malformed("a status line"))?,
            run_id: None,
            framing: Framing::Length(0),
        };
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            if name.eq_ignore_ascii_case("content-length") {
                head.framing = Framing::Length(value.parse().map_err(|_| malformed("a content-length"))?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                head.framing = Framing::ChunkSize;
            } else if name.eq_ignore_ascii_case("x-run-id") {
                head.run_id = Some(value.to_owned());
            }
        }
        Ok(head)
    }
}

/// Renders a request that posts this JSON.
pub(crate) fn post(address: SocketAddr, path: &str, key: Option<&str>, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    let authorization = authorization(key);
    format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\n{authorization}content-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Renders a request that gets this.
pub(crate) fn get(address: SocketAddr, path: &str, key: Option<&str>) -> Vec<u8> {
    let authorization = authorization(key);
    format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n{authorization}\r\n").into_bytes()
}

/// Gets a JSON document over a connection of its own.
pub(crate) async fn get_json(address: SocketAddr, key: Option<&str>, path: &str) -> anyhow::Result<Value> {
    let mut connection = Connection::open(address)
        .await
        .with_context(|| format!("nothing answers at {address}"))?;
    let answer = connection.ask_for_json(&get(address, path, key)).await;
    answer.with_context(|| path.to_owned())
}

fn authorization(key: Option<&str>) -> String {
    key.map(|key| format!("authorization: Bearer {key}\r\n"))
        .unwrap_or_default()
}

/// Where `wanted` begins in `text`.
pub(crate) fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{what} in the answer cannot be read"),
    )
}
