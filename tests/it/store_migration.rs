//! `callboard migrate-store`: what a real server left in its file, in every state, goes on in PostgreSQL as if nothing had happened.

use std::process::{Output, Stdio};
use std::str::FromStr;

use callboard::store::postgres::{PostgresOptions, PostgresStore};
use callboard::store::sqlite::{SqliteOptions, SqliteStore};
use callboard_actors::encoding::encode;
use callboard_actors::event::{EventBody, WaitingReason};
use callboard_actors::ids::{InstanceId, RunId};
use callboard_actors::ports::Store;
use callboard_actors::ports::store::{RunCommit, RunQuery, StateChange};
use callboard_actors::run_state::RunState;
use callboard_actors::time::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::runtime::Handle;

use crate::harness::{Client, SeenEvent, Site, check_whole_log, patiently};
use crate::rig::{fresh_schema, shared_postgres_url};

const SETTINGS: &str = "[tiers.pro]\nconcurrent_runs = 3\n";
const VARIABLE: &str = "MIGRATION_TARGET";
const MIGRATE: [&str; 5] = ["migrate-store", "--from", "sqlite", "--to", "postgres"];

/// An empty schema of the test server, and a file that a server with one of everything was killed on.
struct Move {
    site: Site,
    url: String,
    left: Left,
}

/// What the server left.
struct Left {
    key: String,
    /// Run and whole log.
    ended: Vec<(String, Vec<SeenEvent>)>,
    /// Run and what was seen of it.
    running: Vec<(String, Vec<SeenEvent>)>,
    waiting: String,
    queued: Vec<String>,
    idempotent: String,
}

impl Move {
    async fn prepare() -> Self {
        let url = fresh_schema(&shared_postgres_url().unwrap()).await.unwrap();
        let site = Site::new(SETTINGS).with_variable(VARIABLE, &url);
        let left = live_and_die(&site).await;
        Self { site, url, left }
    }

    async fn migrate(&self, more: &[&str]) -> Output {
        let arguments = [&MIGRATE, ["--to-url-env", VARIABLE].as_slice(), more].concat();
        self.site.run_to_end(&arguments).await
    }

    async fn migrate_well(&self) -> String {
        let output = self.migrate(&[]).await;
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// From here on servers of the site use PostgreSQL.
    fn switch(&self) {
        let file = self.site.path().join("config.toml");
        let settings = std::fs::read_to_string(&file).unwrap();
        let store = format!("{settings}[store]\npostgres_url_env = \"{VARIABLE}\"\n");
        std::fs::write(&file, store).unwrap();
    }

    async fn database(&self) -> PgConnection {
        let options = PgConnectOptions::from_str(&self.url).unwrap();
        options.connect().await.unwrap()
    }

    async fn execute(&self, statements: &'static str) {
        let mut database = self.database().await;
        sqlx::raw_sql(statements).execute(&mut database).await.unwrap();
        database.close().await.unwrap();
    }

    async fn old_store(&self) -> SqliteStore {
        let options = SqliteOptions::new(self.site.path().join("data/callboard.db"));
        SqliteStore::open_shared(options, &Handle::current()).await.unwrap()
    }

    async fn new_store(&self) -> PostgresStore {
        let options = PostgresOptions::new(&self.url);
        PostgresStore::open(options, &Handle::current()).await.unwrap()
    }

    /// Both stores answer alike, whatever they are asked about any run or key.
    async fn assert_same_answers(&self) {
        let (old, new) = (self.old_store().await, self.new_store().await);
        assert_eq!(old.list_keys().await.unwrap(), new.list_keys().await.unwrap());
        let query = RunQuery {
            thread: None,
            account: "acme".parse().unwrap(),
            state: None,
            before: None,
            limit: 1000,
        };
        let runs = old.list_runs(query.clone()).await.unwrap();
        assert_eq!(runs, new.list_runs(query).await.unwrap());
        assert!(runs.len() >= 10, "{runs:?}");
        for run in runs {
            let run = run.id;
            let items = old.items(run, None, u32::MAX).await.unwrap();
            assert!(!items.items.is_empty());
            assert_eq!(items, new.items(run, None, u32::MAX).await.unwrap());
            let events = old.events(run, None, usize::MAX).await.unwrap();
            assert_eq!(events, new.events(run, None, usize::MAX).await.unwrap());
            assert!(!events.is_empty());
        }
        old.close().await;
        new.close().await;
    }
}

async fn post_idempotent(client: &Client) -> Value {
    let request = client
        .request(Method::POST, "/api/v1/runs")
        .header("idempotency-key", "order-4711")
        .json(&json!({"input": "Only once."}));
    Client::send(request).await.unwrap().json()
}

/// A server on the file that is killed with one of everything.
async fn live_and_die(site: &Site) -> Left {
    let key = site.create_key("acme", "pro").await;
    site.create_key("idle", "free").await;
    let server = site.start().await;
    let client = server.client_with(&key);
    let idempotent = post_idempotent(&client).await["id"].as_str().unwrap().to_owned();
    let calls = json!({"tool_calls": [{"name": "now"}, {"name": "echo", "arguments": {"text": "ü \u{1f980}"}}]});
    let with_tools = json!({"input": "Go.", "tools": ["now", "echo"], "model_options": {"simulate": calls}});
    let mut ended = vec![idempotent.clone(), client.start_run(&with_tools).await];
    ended.push(
        client
            .start_simulated(json!({"fail": {"kind": "status", "status": 400}}))
            .await,
    );
    let stalled = client.start_simulated(json!({"fail": {"kind": "stall"}})).await;
    client.cancel(&stalled).await;
    ended.push(stalled);
    for run in &ended {
        client.run_when_ended(run).await;
    }
    let mut logs = Vec::new();
    for run in ended {
        let log = client.events(&run, None).await.unwrap().rest().await;
        logs.push((run, log));
    }
    let mut running = Vec::new();
    for _ in 0..2 {
        let run = client
            .start_simulated(json!({"tokens": 12, "tokens_per_second": 4}))
            .await;
        let seen = client.events(&run, None).await.unwrap().until("text.delta").await;
        running.push((run, seen));
    }
    let waiting = client.start_simulated(json!({"fail": {"kind": "stall"}})).await;
    let mut queued = Vec::new();
    for _ in 0..3 {
        queued.push(client.start_simulated(json!({"tokens": 2})).await);
    }
    server.kill().await;
    park(site, &waiting).await;
    Left {
        key,
        ended: logs,
        running,
        waiting,
        queued,
        idempotent,
    }
}

/// No tool of the binary is one that a crash makes a person look at, so the run is parked as its actor would do it.
async fn park(site: &Site, run: &str) {
    let options = SqliteOptions::new(site.path().join("data/callboard.db"));
    let store = SqliteStore::open(options, &Handle::current()).await.unwrap();
    store.recover(InstanceId::new()).await.unwrap();
    let run: RunId = run.parse().unwrap();
    let record = store.run(run).await.unwrap().unwrap();
    let reason = WaitingReason::NeedsReview;
    let commit = RunCommit {
        calls: None,
        run,
        account: record.account,
        epoch: record.epoch,
        events: encode(
            run,
            record.next_seq,
            [EventBody::RunWaiting {
                reason,
                calls: Vec::new(),
            }],
        ),
        reserved_seq: 0,
        items: Vec::new(),
        progress: None,
        charges: Vec::new(),
        change: Some(StateChange {
            to: RunState::Waiting,
            error: None,
            waiting: Some(reason),
            at: Timestamp::now(),
        }),
    };
    store.commit(commit).await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn what_a_server_left_in_its_file_goes_on_in_postgres() {
    let moved = Move::prepare().await;
    let rehearsed = moved.migrate(&["--dry-run"]).await;
    let text = String::from_utf8(rehearsed.stdout).unwrap();
    assert!(
        rehearsed.status.success() && text.contains("Nothing was changed."),
        "{text}"
    );
    let text = moved.migrate_well().await;
    assert!(text.contains("both databases have the same rows"), "{text}");
    moved.assert_same_answers().await;
    let again = moved.migrate_well().await;
    assert!(again.starts_with("Nothing is left to do: "), "{again}");

    moved.switch();
    let left = &moved.left;
    let server = moved.site.start().await;
    let client = server.client_with(&left.key);
    for (run, log) in &left.ended {
        let now = client.events(run, None).await.unwrap().rest().await;
        assert_eq!(now, *log, "the history is the same, seq by seq");
    }
    assert_eq!(post_idempotent(&client).await["id"], left.idempotent);
    assert_eq!(client.run(&left.waiting).await["state"], "waiting");
    for (run, seen) in &left.running {
        let last = seen.last().unwrap().seq;
        let rest = client.events(run, Some(last)).await.unwrap().rest().await;
        assert_eq!(rest[0].seq, last + 1, "the stream goes on where it was cut");
        let log = client.events(run, None).await.unwrap().rest().await;
        let run = client.run(run).await;
        assert_eq!(run["state"], "completed", "{run}");
        check_whole_log(&log, &run);
        assert!(log.starts_with(seen), "what was shown stays");
        assert!(log.iter().any(|event| event.kind == "run.recovered"));
    }
    let mut times = Vec::new();
    for run in &left.queued {
        let run = client.run_when_ended(run).await;
        assert_eq!(run["state"], "completed", "{run}");
        times.push(run["started_at"].as_str().unwrap().to_owned());
    }
    assert!(times.is_sorted(), "the line is in its old order: {times:?}");
    assert_eq!(client.cancel(&left.waiting).await["state"], "cancelled");
    let log = client.events(&left.waiting, None).await.unwrap().rest().await;
    check_whole_log(&log, &client.run(&left.waiting).await);
    let counted: Vec<(String, i32, i64)> =
        sqlx::query_as("SELECT account, running, queued FROM accounts WHERE running <> 0 OR queued <> 0")
            .fetch_all(&mut moved.database().await)
            .await
            .unwrap();
    assert_eq!(counted, [], "Slots that are taken or runs in line");
    server.finish_as(&client).await;
}

#[tokio::test]
async fn killed_half_way_it_ends_the_same_when_it_is_run_again() {
    let moved = Move::prepare().await;
    // Makes the tables; then the last of them is held, so that the migration stands still before it.
    moved.new_store().await.close().await;
    let mut holder = moved.database().await;
    let hold = "BEGIN; LOCK TABLE event_batches IN SHARE MODE";
    sqlx::raw_sql(hold).execute(&mut holder).await.unwrap();
    let arguments = [&MIGRATE, ["--to-url-env", VARIABLE].as_slice()].concat();
    let mut command = moved.site.command(&arguments);
    let mut migration = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut watcher = moved.database().await;
    let copying = async {
        let mut items: i64 = 0;
        while items == 0 {
            assert!(migration.try_wait().unwrap().is_none(), "it has ended");
            let count = sqlx::query_scalar("SELECT count(*) FROM items");
            items = count.fetch_one(&mut watcher).await.unwrap();
        }
    };
    patiently("the items to be copied", copying).await;
    migration.kill().await.unwrap();
    holder.close().await.unwrap();

    moved.switch();
    let refused = moved.site.run_to_end(&["serve"]).await;
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(said.contains("run `callboard migrate-store` again"), "{said}");
    moved.migrate_well().await;
    moved.assert_same_answers().await;
    let server = moved.site.start().await;
    let client = server.client_with(&moved.left.key);
    for run in &moved.left.queued {
        assert_eq!(client.run_when_ended(run).await["state"], "completed");
    }
    server.finish_as(&client).await;
}

#[tokio::test]
async fn a_damaged_row_is_named_and_no_server_starts_on_it() {
    let moved = Move::prepare().await;
    moved.new_store().await.close().await;
    moved
        .execute(
            "CREATE FUNCTION damage() RETURNS trigger LANGUAGE plpgsql AS $$ \
             BEGIN NEW.frames = NEW.frames || '\\x20'::bytea; RETURN NEW; END $$; \
             CREATE TRIGGER damage BEFORE INSERT ON event_batches FOR EACH ROW WHEN (NEW.first_seq = 0) \
             EXECUTE FUNCTION damage()",
        )
        .await;
    let output = moved.migrate(&[]).await;
    let (printed, said) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(printed.contains("DIFFERENT"), "{printed}");
    let first = &moved.left.idempotent;
    let expected = format!("callboard: event_batches: {first}, last_seq ");
    let error = said.lines().find(|line| line.starts_with(&expected));
    assert!(error.is_some_and(|error| error.contains("differs in frames")), "{said}");

    moved.switch();
    let refused = moved.site.run_to_end(&["serve"]).await;
    assert_eq!(refused.status.code(), Some(1));
    moved.execute("DROP TRIGGER damage ON event_batches").await;
    moved.migrate_well().await;
    moved.assert_same_answers().await;
}

#[tokio::test]
async fn what_cannot_be_moved_is_refused_in_words() {
    let url = fresh_schema(&shared_postgres_url().unwrap()).await.unwrap();
    let site = Site::new(SETTINGS).with_variable(VARIABLE, &url);
    let refused = async |more: &[&str]| {
        let output = site.run_to_end(&[&MIGRATE, more].concat()).await;
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), said)
    };
    let (code, said) = refused(&[]).await;
    assert!(code == 2 && said.contains("--to-url-env"), "{code} {said}");
    let (code, said) = refused(&["--to-url-env", "NOT_SET"]).await;
    assert!(code == 2 && said.contains("NOT_SET"), "{code} {said}");
    let here = ["--to-url-env", VARIABLE];
    let (code, said) = refused(&here).await;
    assert!(code == 2 && said.contains("there is no file"), "{code} {said}");
    assert!(!site.path().join("data").exists(), "and none came to be");

    let server = site.start().await;
    let (code, said) = refused(&here).await;
    assert!(code == 1 && said.contains("a server is using"), "{code} {said}");
    let rehearsed = site
        .run_to_end(&[&MIGRATE, here.as_slice(), &["--dry-run"]].concat())
        .await;
    let text = String::from_utf8(rehearsed.stdout).unwrap();
    assert!(
        rehearsed.status.success() && text.contains("must be stopped first"),
        "{text}"
    );
    server.finish().await;
    let (code, said) = refused(&[here.as_slice(), &["--from-path", "config.toml"]].concat()).await;
    assert!(
        code == 2 && said.contains("is not a database of Callboard"),
        "{code} {said}"
    );
}
