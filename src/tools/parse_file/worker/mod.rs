//! The process's side: `callboard parse-document`. It bounds itself before it looks at a single byte of the document, reads it, answers and
//! ends. Whatever a parser does wrong, from a panic to an abort, ends this process only.

mod detect;
mod docx;
mod html;
mod pdf;
mod plain;
mod sink;
mod spreadsheet;

use std::io::{self, BufRead, Read, Write};
use std::panic::AssertUnwindSafe;

use super::protocol::{Answer, Assignment, Extracted, Head, MAX_HEAD_BYTES, ReadRequest};
use detect::Kind;
use sink::TextSink;

/// The command that makes a process one of these.
pub const COMMAND: &str = "parse-document";

/// Parsers recurse into what is nested; what overflows this is not worth reading.
const STACK_BYTES: usize = 16 * 1024 * 1024;

#[cfg(unix)]
const WATCHER_STACK_BYTES: usize = 64 * 1024;

/// Why a document has no text: a sentence for whoever asked.
#[derive(Debug, PartialEq, Eq)]
struct Refusal(String);

impl Refusal {
    fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    fn damaged(kind: &str) -> Self {
        Self(format!("the file is not a whole {kind}: it is damaged or cut off"))
    }

    fn locked(kind: &str) -> Self {
        Self(format!("the {kind} is protected by a password"))
    }
}

/// What a document is, and how much of it there is.
#[derive(Debug, PartialEq, Eq)]
struct Description {
    kind: &'static str,
    extent: Option<String>,
}

/// Whether this process was started to read a document.
pub fn is_wanted() -> bool {
    std::env::args_os().nth(1).is_some_and(|argument| argument == COMMAND)
}

/// Reads the document on the standard input and writes its text to the standard output.
///
/// # Errors
/// Whoever asked does not speak as agreed, or is gone; the system does not let the process bound itself.
pub fn run() -> io::Result<()> {
    // What parsers say about a document is nobody's business.
    std::panic::set_hook(Box::new(|_| {}));
    let mut line = Vec::new();
    io::stdin()
        .lock()
        .take(MAX_HEAD_BYTES as u64)
        .read_until(b'\n', &mut line)?;
    let assignment: Assignment = serde_json::from_slice(&line)?;
    end_with_whoever_asked(&assignment)?;
    bound_this_process(&assignment)?;
    // It gets its stack before the document comes: what does not fit from there on is the document.
    let reading = std::thread::Builder::new()
        .stack_size(STACK_BYTES)
        .spawn(move || receive_and_read(&assignment))?;
    let broken = |_| Ok(Err(Refusal::new("the document is damaged")));
    write_answer(reading.join().unwrap_or_else(broken)?)
}

fn receive_and_read(assignment: &Assignment) -> io::Result<Result<Extracted, Refusal>> {
    let received = receive(assignment)?;
    Ok(received.and_then(|document| read(&document, &assignment.request)))
}

/// All of the document, unless it is too large to be had.
fn receive(assignment: &Assignment) -> io::Result<Result<Vec<u8>, Refusal>> {
    let most = assignment.max_document_bytes;
    let mut document = Vec::new();
    match io::stdin().lock().take(most + 1).read_to_end(&mut document) {
        Err(error) if error.kind() == io::ErrorKind::OutOfMemory => {
            let limit = assignment.max_memory_bytes;
            let message = format!("the document needs more than {limit} bytes of memory to be read");
            return Ok(Err(Refusal(message)));
        }
        received => received?,
    };
    if document.len() as u64 > most {
        return Ok(Err(Refusal(format!("the document has more than {most} bytes"))));
    }
    Ok(Ok(document))
}

fn write_answer(answer: Result<Extracted, Refusal>) -> io::Result<()> {
    let mut output = io::stdout().lock();
    let (answer, text) = match answer {
        Ok(Extracted { head, text }) => (Answer::Text(head), text),
        Err(Refusal(message)) => (Answer::Refused(message), String::new()),
    };
    serde_json::to_writer(&mut output, &answer)?;
    output.write_all(b"\n")?;
    output.write_all(text.as_bytes())?;
    output.flush()
}

/// Ends this process when nobody hears it any more (a server that was killed kills nobody), and when it has had more than its time.
#[cfg(unix)]
fn end_with_whoever_asked(assignment: &Assignment) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let longest = Timespec {
        tv_sec: assignment.max_cpu_seconds.try_into().unwrap_or(i64::MAX),
        tv_nsec: 0,
    };
    let watching = move || {
        let output = io::stdout();
        loop {
            // Nothing is asked for: what comes all the same is that the other end of the pipe is closed.
            match poll(&mut [PollFd::new(&output, PollFlags::empty())], Some(&longest)) {
                Err(rustix::io::Errno::INTR) => {}
                _ => std::process::exit(1),
            }
        }
    };
    std::thread::Builder::new()
        .stack_size(WATCHER_STACK_BYTES)
        .spawn(watching)
        .map(drop)
}

/// Elsewhere it ends when its document is read.
#[cfg(not(unix))]
fn end_with_whoever_asked(_assignment: &Assignment) -> io::Result<()> {
    Ok(())
}

/// From here on the system ends this process when it wants too much.
#[cfg(unix)]
fn bound_this_process(assignment: &Assignment) -> io::Result<()> {
    use rlimit::Resource;
    // Whoever streams comes first.
    rustix::process::nice(19)?;
    Resource::CORE.set(0, 0)?;
    // Nothing is to be written but the answer, which is a pipe.
    Resource::FSIZE.set(0, 0)?;
    let seconds = assignment.max_cpu_seconds;
    Resource::CPU.set(seconds, seconds + 1)?;
    let space = assignment.max_memory_bytes.saturating_add(space_of_the_program());
    Resource::AS.set(space, space)
}

/// Bytes of address space that the program has before it does anything; 0 where the system does not say.
#[cfg(unix)]
fn space_of_the_program() -> u64 {
    let sizes = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = sizes
        .split(' ')
        .next()
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0);
    pages.saturating_mul(rustix::param::page_size() as u64)
}

/// Elsewhere only its time is bounded, by whoever started it.
#[cfg(not(unix))]
fn bound_this_process(_assignment: &Assignment) -> io::Result<()> {
    Ok(())
}

/// The document's text, as far as it is wanted. What it is says its content.
fn read(document: &[u8], request: &ReadRequest) -> Result<Extracted, Refusal> {
    let mut sink = TextSink::new(request);
    let kind = detect::kind_of(document)?;
    let reading = AssertUnwindSafe(|| match kind {
        Kind::Pdf => pdf::read(document, request, &mut sink),
        Kind::Docx => docx::read(document, &mut sink),
        Kind::Spreadsheet(format) => spreadsheet::read(document, format, request, &mut sink),
        Kind::Html(text) => Ok(html::read(&text, &mut sink)),
        Kind::Text(text) => Ok(plain::read(&text, &mut sink)),
    });
    let description = std::panic::catch_unwind(reading).unwrap_or_else(|_panic| {
        Err(Refusal::new(
            "the document is damaged in a way that cannot be read around",
        ))
    })?;
    Ok(Extracted {
        head: Head {
            kind: description.kind.to_owned(),
            extent: description.extent,
            characters: sink.characters(),
            next_offset: sink.next_offset(),
        },
        text: sink.into_text(),
    })
}

fn counted(number: usize, what: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {what}{ending}")
}

#[cfg(test)]
mod tests;
