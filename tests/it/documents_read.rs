//! `parse_file` on a real server: documents of each kind come out as text, and what is broken, hostile or slow costs its own call only.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::documents::{
    bottomless_pdf, circular_pdf, docx, endless_pdf, locked_pdf, packed_pdf, pdf, repetitive_ods, sparse_xlsx, xlsx,
    xlsx_of_cells, xlsx_of_sheet, xlsx_of_texts,
};
use crate::files::parsing;
use crate::harness::{Client, Server, Site, until_some};

/// The processes that read documents for this server.
fn readers_of(server: &Server) -> Vec<u32> {
    let parent = server.process_id();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let read = |name: &str| std::fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        let is_child = read("status").lines().any(|line| line == format!("PPid:\t{parent}"));
        if is_child && read("cmdline").contains("parse-document") {
            found.push(id);
        }
    }
    found
}

async fn parsed(client: &Client, name: &str, document: &[u8]) -> (String, bool) {
    let file = client.upload(name, document).await;
    client.parse(&json!({"file_id": file})).await
}

#[tokio::test]
async fn documents_of_each_kind_become_text() {
    let server = Server::start("").await;
    let client = server.client();
    for (name, document, expected) in [
        (
            "a.pdf",
            pdf(&["Hello there."]),
            "a.pdf (PDF, 1 page)\n\n## Page 1\n\nHello there.\n",
        ),
        (
            "a.docx",
            docx("<w:p><w:r><w:t>Hello</w:t></w:r></w:p>"),
            "a.docx (DOCX)\n\nHello\n",
        ),
        (
            "a.xlsx",
            xlsx(&[("One", &[&["a", "1"]])]),
            "a.xlsx (spreadsheet, 1 sheet)\n\n## Sheet One\n\na,1\n",
        ),
        (
            "a.csv",
            b"a,b\n1,2\n".to_vec(),
            "a.csv (CSV, 2 rows, 2 columns)\n\na,b\n1,2\n",
        ),
        (
            "a.html",
            b"<html><body><h1>Hi</h1></body></html>".to_vec(),
            "a.html (HTML)\n\n# Hi",
        ),
        // Names lie.
        ("b.html", b"{\"a\": 1}".to_vec(), "b.html (JSON, 1 line)\n\n{\"a\": 1}"),
        (
            "empty.txt",
            Vec::new(),
            "empty.txt (text, 0 lines)\n\n[there is no text in it]",
        ),
    ] {
        let (text, is_error) = parsed(&client, name, &document).await;
        assert_eq!((text.trim_end(), is_error), (expected.trim_end(), false), "{name}");
    }
    let long = client.upload("long.pdf", &pdf(&["First.", "Second.", "Third."])).await;
    let (text, _) = client
        .parse(&json!({"file_id": long, "pages": "2-3", "max_chars": 20}))
        .await;
    assert_eq!(
        text,
        "long.pdf (PDF, 3 pages)\n\n## Page 2\n\nSecond.\n\n\n[there is more: go on with offset 20]"
    );
    let (text, _) = client
        .parse(&json!({"file_id": long, "pages": "2-3", "offset": 20}))
        .await;
    assert!(text.ends_with("## Page 3\n\nThird.\n\n"), "{text}");
    let notes = client.upload("notes.txt", b"Hello").await;
    for offset in [5, 6, 1_000_000] {
        let (text, _) = client.parse(&json!({"file_id": notes, "offset": offset})).await;
        assert_eq!(
            text,
            "notes.txt (text, 1 line)\n\n[there is nothing more: the text has 5 characters]"
        );
    }
    server.finish().await;
}

#[tokio::test]
async fn broken_and_hostile_documents_are_refused_and_cost_one_call() {
    // As much time as a busy machine needs to find out that it is too much.
    let settings = "[tools]\ntimeout = \"10m\"\n[tools.documents]\nmax_memory = \"64MB\"\ntimeout = \"10m\"\nmax_size = \"20MB\"\n";
    let server = Server::start(settings).await;
    let client = server.client();
    let whole = pdf(&["Hello there."]);
    let out_of_bounds = "is damaged, nested too deep, or needs more than 64000000 bytes of memory";
    let boom = |times| docx(&format!("<w:p><w:r><w:t>{}</w:t></w:r></w:p>", "boom ".repeat(times)));
    for (name, document, expected) in [
        (
            "half.pdf",
            whole[..whole.len() / 3].to_vec(),
            "is not a whole PDF: it is damaged or cut off",
        ),
        ("locked.pdf", locked_pdf(), "the PDF is protected by a password"),
        (
            "program",
            b"\x7fELF\x02\x01\x01\0\0\0".to_vec(),
            "is of a kind that cannot be read as text",
        ),
        (
            "deep.docx",
            docx(&"<w:p>".repeat(100_000)),
            "the DOCX is nested too deep",
        ),
        ("bottomless.pdf", bottomless_pdf(), out_of_bounds),
        ("packed.pdf", packed_pdf(100_000_000), out_of_bounds),
        ("circular.pdf", circular_pdf(), "is not a whole PDF"),
        ("blown-up.docx", boom(15_000_000), out_of_bounds),
        ("texts.xlsx", xlsx_of_texts(2_000_000), out_of_bounds),
        ("cells.ods", repetitive_ods(2_000), out_of_bounds),
        (
            "more-cells.ods",
            repetitive_ods(1_000_000),
            "more cells than can be read",
        ),
        ("large.txt", vec![b'a'; 20_000_001], "documents are read up to 20000000"),
    ] {
        let (text, is_error) = parsed(&client, name, &document).await;
        assert!(is_error && text.contains(expected), "{name}: {text}");
    }
    // Cells are read one after the other: no more of them than fit into the answer.
    let (text, is_error) = parsed(&client, "cells.xlsx", &xlsx_of_cells(1_000_000)).await;
    assert!(!is_error && text.contains("there is more"), "{text}");
    let spilled = "<worksheet><sheetData><row r=\"1\"><c r=\"A1\"><v>42</v></c><c r=\"B1\" t=\"e\"><v>#SPILL!</v></c></row></sheetData></worksheet>";
    let (text, is_error) = parsed(&client, "spilled.xlsx", &xlsx_of_sheet(spilled)).await;
    assert!(
        !is_error && text.contains("42\n[1 cell of this sheet left out"),
        "{text}"
    );
    assert_eq!(readers_of(&server), [0u32; 0]);
    let (text, is_error) = parsed(&client, "well.pdf", &whole).await;
    assert!(!is_error && text.contains("Hello there."), "{text}");
    server.finish().await;
}

#[tokio::test]
async fn a_document_that_does_not_fit_into_the_memory_is_not_to_be_tried_again() {
    let settings = "[tools]\ntimeout = \"10m\"\n[tools.documents]\nmax_memory = \"64MB\"\ntimeout = \"10m\"\nmax_size = \"60MB\"\n";
    let server = Server::start(settings).await;
    let (text, is_error) = parsed(&server.client(), "large.txt", &vec![b'a'; 58_000_000]).await;
    assert_eq!(
        (text.as_str(), is_error),
        ("the document needs more than 64000000 bytes of memory to be read", true)
    );
    server.finish().await;
}

#[tokio::test]
async fn a_process_that_reads_does_not_outlive_a_killed_server() {
    let settings = "[tools]\ntimeout = \"1h\"\n[tools.documents]\ntimeout = \"1h\"\n";
    let server = Server::start(settings).await;
    let client = server.client();
    let endless = client.upload("endless.pdf", &endless_pdf()).await;
    client.start_run(&parsing(&json!({"file_id": endless}))).await;
    let readers = until_some("a process to read", || async {
        Some(readers_of(&server)).filter(|readers| !readers.is_empty())
    })
    .await;
    let _site = server.kill().await;
    until_some("the process to be gone", || async {
        let is_gone = |reader: &u32| !std::path::Path::new(&format!("/proc/{reader}")).exists();
        readers.iter().all(is_gone).then_some(())
    })
    .await;
}

#[tokio::test]
async fn one_account_leaves_processes_to_the_others() {
    let settings = "[tools]\ntimeout = \"1h\"\n[tools.documents]\ntimeout = \"1h\"\n[tools.limits.parse_file]\nmax_concurrent = 2\n";
    let site = Site::new(settings);
    let (acme_key, other_key) = (
        site.create_key("acme", "pro").await,
        site.create_key("other", "pro").await,
    );
    let server = site.start().await;
    let (acme, other) = (server.client_with(&acme_key), server.client_with(&other_key));
    let endless = acme.upload("endless.pdf", &endless_pdf()).await;
    let mut reading = Vec::new();
    for _ in 0..3 {
        reading.push(acme.start_run(&parsing(&json!({"file_id": endless}))).await);
    }
    until_some("a process to read", || async {
        (!readers_of(&server).is_empty()).then_some(())
    })
    .await;
    let (text, is_error) = parsed(&other, "well.pdf", &pdf(&["Hello there."])).await;
    assert!(!is_error && text.contains("Hello there."), "{text}");
    assert_eq!(readers_of(&server).len(), 1);
    for run in &reading {
        assert_eq!(acme.cancel(run).await["state"], "cancelled");
    }
    until_some("the last process to be gone", || async {
        readers_of(&server).is_empty().then_some(())
    })
    .await;
    server.finish_as(&acme).await;
}

#[tokio::test]
async fn a_document_that_takes_too_long_is_given_up() {
    let server = Server::start("[tools.documents]\ntimeout = \"500ms\"\n").await;
    let (text, is_error) = parsed(&server.client(), "endless.pdf", &endless_pdf()).await;
    assert_eq!(
        (text.as_str(), is_error),
        ("the document takes longer to read than the 500ms that it may", true)
    );
    assert_eq!(readers_of(&server), [0u32; 0]);
    server.finish().await;
}

#[tokio::test]
async fn a_document_that_is_read_for_ever_delays_nobody_and_ends_with_its_run() {
    // One at a time: the second waits for the first.
    let settings = "[tools]\ntimeout = \"1h\"\n[tools.documents]\ntimeout = \"1h\"\n[tools.limits.parse_file]\nmax_concurrent = 1\n";
    let server = Server::start(settings).await;
    let client = server.client();
    let endless = client.upload("endless.pdf", &endless_pdf()).await;
    let reading = client.start_run(&parsing(&json!({"file_id": endless}))).await;
    until_some("a process to read", || async {
        (!readers_of(&server).is_empty()).then_some(())
    })
    .await;
    let waiting = client.start_run(&parsing(&json!({"file_id": endless}))).await;
    // Others start, stream and end meanwhile.
    let body = json!({"tokens": 200, "tokens_per_second": 400});
    let other = client.start_simulated(body).await;
    let mut events = client.events(&other, None).await.unwrap();
    while events.next().await.is_some() {}
    assert_eq!(client.run(&other).await["state"], "completed");
    for run in [&reading, &waiting] {
        assert_eq!(client.run(run).await["state"], "running");
    }
    assert_eq!(readers_of(&server).len(), 1);
    let first = readers_of(&server);
    assert_eq!(client.cancel(&reading).await["state"], "cancelled");
    until_some("the next one's turn", || async {
        let readers = readers_of(&server);
        (readers.len() == 1 && readers != first).then_some(())
    })
    .await;
    assert_eq!(client.cancel(&waiting).await["state"], "cancelled");
    until_some("the last process to be gone", || async {
        readers_of(&server).is_empty().then_some(())
    })
    .await;
    let ended: Value = client.run(&waiting).await;
    assert_eq!(ended["error"], Value::Null);
    server.finish().await;
}

#[tokio::test]
async fn whatever_is_changed_in_a_document_it_is_read_or_refused() {
    let server = Server::start("[tools.documents]\nmax_memory = \"128MB\"\ntimeout = \"20s\"\n").await;
    let client = server.client();
    let sound = [
        pdf(&["Hello there.", "Second page."]),
        docx("<w:p><w:r><w:t>Hello</w:t></w:r></w:p><w:tbl><w:tr><w:tc><w:p/></w:tc></w:tr></w:tbl>"),
        xlsx(&[("One", &[&["a", "1"], &["b", "2.5"]])]),
        sparse_xlsx(),
        repetitive_ods(3),
    ];
    // The same every time: a document that breaks something must break it again.
    let mut random = StdRng::seed_from_u64(7);
    for round in 0..20 {
        for document in &sound {
            let mut changed = document.clone();
            for _ in 0..random.random_range(1..8) {
                let place = random.random_range(0..changed.len());
                match random.random_range(0..3) {
                    0 => changed[place] = random.random(),
                    1 => drop(changed.splice(place..place, *b"0000000000")),
                    _ => drop(changed.drain(place..(place + 20).min(changed.len() - 1).max(place))),
                }
            }
            let (text, is_error) = parsed(&client, "changed", &changed).await;
            // What is refused, for whatever reason, is so in one of our sentences about documents. (A process that fails, or that answers
            // nonsense, is "the file cannot be read at the moment", which is none of them.)
            let is_ours = ["PDF", "DOCX", "spreadsheet", "document (a ZIP archive)"]
                .iter()
                .any(|kind| {
                    text == format!("the file is not a whole {kind}: it is damaged or cut off")
                        || text == format!("the {kind} is protected by a password")
                        || text == format!("the {kind} is nested too deep")
                })
                || text == "the document is damaged in a way that cannot be read around"
                || text == "the spreadsheet says that it has more cells than can be read"
                || text == "the document takes longer to read than the 20s that it may"
                || text.starts_with("the file is of a kind that cannot be read as text; ")
                || text.starts_with("the document is damaged, nested too deep, or needs more than 128000000 bytes")
                || text.starts_with("the document needs more than 128000000 bytes");
            assert!(!is_error || is_ours, "round {round}: {text}");
        }
    }
    assert_eq!(readers_of(&server), [0u32; 0]);
    server.finish().await;
}
