//! Users, passwords and certificates: they work, and nobody reads them.

use std::process::Command;
use std::sync::Arc;

use callboard_actors::ports::EventLog;
use callboard_actors::testing::event_log_conformance::{Durability, ScriptedWriter, read_to_the_end};
use callboard_actors::testing::memory_store::MemoryStore;
use tokio::runtime::Handle;

use super::{Pair, RedisAddress, RedisEventLog, RedisLogOptions, open_with, shared, until};
use crate::redis_client::test_server::OwnServer;
use crate::redis_client::{Endpoint, describe};
use crate::stream::memory::{MemoryEventLog, MemoryLogOptions};

const PASSWORD: &str = "correct-horse";
/// What the log needs to be allowed, and nothing else.
const RULES: &str = "on >correct-horse ~callboard:* &callboard:* +ping +evalsha +script|load +xadd +xrange +xrevrange \
                     +pexpire +publish +subscribe +unsubscribe";

fn refused(address: RedisAddress) -> String {
    let store = Arc::new(MemoryStore::new());
    let local = MemoryEventLog::new(store.clone(), MemoryLogOptions::default());
    let options = RedisLogOptions::new(address, Handle::current());
    assert!(!format!("{options:?}").contains(PASSWORD), "{options:?}");
    let error = RedisEventLog::start(Arc::new(local), store, options)
        .err()
        .expect("it is refused");
    format!("{error} {error:?}")
}

#[tokio::test]
async fn addresses_are_never_printed() {
    for url in [
        format!("http://callboard:{PASSWORD}@127.0.0.1/"),
        format!("redis://callboard:{PASSWORD}@127.0.0.1:notaport/"),
        format!("callboard:{PASSWORD}"),
    ] {
        for address in [
            RedisAddress::Single(url.clone().into()),
            RedisAddress::Cluster(vec![url.clone().into()]),
        ] {
            assert!(!format!("{address:?}").contains(PASSWORD));
            let text = refused(address);
            assert!(!text.contains(PASSWORD), "{text}");
        }
    }
    assert!(refused(RedisAddress::Cluster(Vec::new())).contains("at least one node"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_user_with_few_rights_is_enough() {
    let rules = format!("callboard {RULES}");
    let words: Vec<&str> = rules.split(' ').filter(|word| !word.is_empty()).collect();
    let mut arguments = vec!["--user"];
    arguments.extend(words);
    arguments.extend(["--user", "default", "off"]);
    let server = OwnServer::start(&arguments).await;
    let url = format!("redis://callboard:{PASSWORD}@127.0.0.1:{}/", server.port);
    let pair = Pair::connected(&RedisAddress::Single(url.into())).await;
    follow_one_run(&pair).await;

    let wrong = format!("redis://callboard:in-{PASSWORD}@127.0.0.1:{}/", server.port);
    let options = RedisLogOptions::new(RedisAddress::Single(wrong.into()), Handle::current());
    let endpoint = Endpoint::new(&options.connect()).expect("the address is one");
    let refusal = endpoint.connect().await.err().expect("the password is wrong");
    let text = describe(&refusal);
    assert!(!text.contains(PASSWORD) && !text.contains("callboard"), "{text}");
    assert!(endpoint.connect_for_subscriptions(0).await.is_err());
}

/// Through TLS, with an authority of our own.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn events_travel_through_tls() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (certificate, key) = (file("server.pem"), file("server.key"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ])
        .args([
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
        ])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", &key, "-out", &certificate])
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let tls_port = free.local_addr().expect("it is bound").port();
    drop(free);
    let port = tls_port.to_string();
    let server = OwnServer::start(&[
        "--tls-port",
        &port,
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-auth-clients",
        "no",
    ])
    .await;
    let address = RedisAddress::Single(format!("rediss://127.0.0.1:{tls_port}/").into());
    let store = Arc::new(MemoryStore::new());
    let mut options = RedisLogOptions::new(address, Handle::current());
    options.ca_file = Some(certificate.into());
    let pair = Pair {
        first: open_with(store.clone(), options.clone()),
        second: open_with(store.clone(), options),
        store,
    };
    for log in [&pair.first, &pair.second] {
        until(log, |health| health.sends && health.hears).await;
    }
    follow_one_run(&pair).await;
    drop(server);
}

async fn follow_one_run(pair: &Pair) {
    let first = shared(&pair.first);
    let mut writer = ScriptedWriter::of_new_run(&first, &pair.store, Durability::Relaxed);
    let mut follower = pair.second.follow(writer.run, None);
    writer.write_deltas(20).await;
    writer.finish().await;
    assert_eq!(read_to_the_end(&mut follower).await, (0..=20).collect::<Vec<u64>>());
    pair.first.flush().await;
}
