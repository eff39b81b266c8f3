//! The rig's own parts do what fleets' tests rely on: services lose and keep what they should, and the network fails as it should.

use std::net::Ipv4Addr;
use std::str::FromStr;
use std::time::Duration;

use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::rig::{Network, Postgres, PostgresOptions, PostgresStop, Proxy, Redis, RedisMemory, patiently};

async fn connect(url: &str) -> PgConnection {
    let options = sqlx::postgres::PgConnectOptions::from_str(url).unwrap();
    options.connect().await.unwrap()
}

#[tokio::test]
async fn a_postgres_keeps_its_data_through_both_kinds_of_restart() {
    let mut postgres = Postgres::start(PostgresOptions::default()).await.unwrap();
    let url = postgres.fresh_schema().await.unwrap();
    let mut connection = connect(&url).await;
    sqlx::query("CREATE TABLE kept (number bigint)")
        .execute(&mut connection)
        .await
        .unwrap();
    for stop in [PostgresStop::Fast, PostgresStop::Immediate] {
        let mut connection = connect(&url).await;
        sqlx::query("INSERT INTO kept VALUES (1)")
            .execute(&mut connection)
            .await
            .unwrap();
        postgres.restart(stop).await.unwrap();
        assert!(connection.ping().await.is_err(), "a restart breaks connections");
    }
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM kept")
        .fetch_one(&mut connect(&url).await)
        .await
        .unwrap();
    assert_eq!(rows, 2);
}

async fn value_after_restart(memory: RedisMemory) -> Option<String> {
    let mut server = Redis::start(memory).await.unwrap();
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    redis::cmd("SET")
        .arg("key")
        .arg("value")
        .exec_async(&mut connection)
        .await
        .unwrap();
    server.restart().await.unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    redis::cmd("GET").arg("key").query_async(&mut connection).await.unwrap()
}

#[tokio::test]
async fn a_redis_that_is_killed_keeps_or_forgets_what_it_had() {
    assert_eq!(value_after_restart(RedisMemory::Forgets).await, None);
    assert_eq!(value_after_restart(RedisMemory::Keeps).await.as_deref(), Some("value"));
}

/// Says everything back that it hears, on each connection.
async fn echo(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let (mut out, mut back) = stream.split();
            tokio::io::copy(&mut out, &mut back).await
        });
    }
}

async fn hear(stream: &mut TcpStream) -> std::io::Result<u8> {
    patiently("an echo", stream.read_u8()).await.unwrap()
}

#[tokio::test]
async fn the_network_fails_in_three_ways() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let service = listener.local_addr().unwrap();
    tokio::spawn(echo(listener));
    let proxy = Proxy::start(service).await.unwrap();

    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    stream.write_u8(1).await.unwrap();
    assert_eq!(hear(&mut stream).await.unwrap(), 1);

    proxy.set(Network::Frozen);
    let mut later = TcpStream::connect(proxy.address()).await.unwrap();
    stream.write_u8(2).await.unwrap();
    later.write_u8(3).await.unwrap();
    proxy.set(Network::Healthy);
    assert_eq!(hear(&mut stream).await.unwrap(), 2, "what stood still arrives");
    assert_eq!(hear(&mut later).await.unwrap(), 3);

    proxy.set(Network::BlackHole);
    let mut never = TcpStream::connect(proxy.address()).await.unwrap();
    never.write_u8(4).await.unwrap();
    stream.write_u8(5).await.unwrap();
    // There is no signal for what does not come: an answer takes far less than this.
    let silence = tokio::time::timeout(Duration::from_millis(200), stream.read_u8()).await;
    assert!(silence.is_err(), "{silence:?}");
    proxy.set(Network::Healthy);
    assert!(hear(&mut stream).await.is_err(), "what was swallowed is lost");
    assert!(hear(&mut never).await.is_err());
    later.write_u8(6).await.unwrap();
    assert_eq!(hear(&mut later).await.unwrap(), 6, "who said nothing lost nothing");

    proxy.set(Network::Cut);
    assert!(hear(&mut later).await.is_err());
    let mut refused = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(hear(&mut refused).await.is_err());
    proxy.set(Network::Healthy);
    let mut healed = TcpStream::connect(proxy.address()).await.unwrap();
    healed.write_u8(7).await.unwrap();
    assert_eq!(hear(&mut healed).await.unwrap(), 7);
}
