//! How an instance begins: alone on its store, or as one of several.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use anyhow::bail;
use callboard_actors::ids::InstanceId;
use callboard_actors::ports::fleet::{JoinError, NewInstance};
use callboard_actors::ports::{Fleet, Store};
use callboard_actors::supervisor::Beginning;
use callboard_actors::supervisor::fleet::{FleetSettings, Membership};
use callboard_actors::time::Timestamp;

use crate::config::Config;

/// How often a lease that is in the way is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Takes over what the server before this one left. No other server has the store.
pub(super) async fn begin_alone(store: Arc<dyn Store>) -> anyhow::Result<Beginning> {
    let instance = InstanceId::new();
    let recovered = store.recover(instance).await?;
    Ok(Beginning::Alone { instance, recovered })
}

/// Joins the instances that share the store. One whose events stay with it may be alone only: it waits for the lease of the one before
/// it, which may have been killed a moment ago. The caller listens at `address`.
pub(super) async fn join(
    fleet: Arc<dyn Fleet>,
    config: &Config,
    name: String,
    address: SocketAddr,
    shares_events: bool,
    live_instances: Arc<AtomicU32>,
) -> anyhow::Result<Beginning> {
    let limits = config
        .tiers
        .iter()
        .map(|(tier, limits)| (tier.clone(), limits.concurrent_runs));
    fleet.set_tier_limits(limits.collect()).await?;
    let settings = FleetSettings {
        name,
        heartbeat: config.fleet.heartbeat,
        lease: config.fleet.lease,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        shares_events,
    };
    let place = place(address);
    let began = Instant::now();
    loop {
        let instance = InstanceId::new();
        let joined_at = Instant::now();
        let joining = fleet.join(NewInstance {
            id: instance,
            name: settings.name.clone(),
            version: settings.version.clone(),
            place: place.clone(),
            lease: settings.lease,
            shares_events,
        });
        match joining.await {
            Ok(store_now) => {
                Timestamp::set_by_store(store_now, joined_at, Instant::now());
                tracing::info!(%instance, name = settings.name, "joined the fleet");
                return Ok(Beginning::InFleet(Membership {
                    fleet,
                    settings,
                    instance,
                    joined_at,
                    live_instances,
                }));
            }
            Err(JoinError::MustBeAlone) if began.elapsed() > settings.lease + settings.heartbeat => bail!(
                "another instance serves this database. Several need a Redis that brings events to the readers of all of them: \
                 set events.redis_url_env on every instance"
            ),
            Err(JoinError::MustBeAlone) => {
                if began.elapsed() < LOOK_AGAIN {
                    tracing::info!("another instance has this database; waiting for its lease to end");
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Err(JoinError::Store(error)) => return Err(error.into()),
        }
    }
}

/// One socket of one network of one life of a machine: a process that listens there knows that no other does. `None` where the system
/// does not tell networks and lives apart.
fn place(address: SocketAddr) -> Option<String> {
    let life = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let network = std::fs::read_link("/proc/self/ns/net").ok()?;
    // Machines that were copied while they ran have one life, but hardly one name.
    let host = sysinfo::System::host_name().ok()?;
    Some(format!("{} {} {host} {address}", life.trim(), network.display()))
}

/// What people call this instance, if the configuration does not say.
pub(super) fn usual_name(port: u16) -> String {
    let host = sysinfo::System::host_name().unwrap_or_else(|_| "callboard".to_owned());
    format!("{host}:{port}")
}
