//! The fleet at this moment, for people.

use std::time::Duration;

use callboard_actors::ids::InstanceId;
use callboard_actors::ports::StoreError;
use callboard_actors::ports::fleet::{FleetOverview, InstanceLoad, InstanceView};
use callboard_actors::time::Timestamp;
use sqlx::postgres::PgRow;

use super::membership::{NOBODY, counted};
use crate::store::postgres::pool::Pool;
use crate::store::postgres::rows::{self, IdBytes};

/// Those that are alive, those that were lost lately, and those that left runs behind. Not those that left as they should.
const INSTANCES: &str = "SELECT id, name, version, permits_limit, permits_in_use, draining, \
     (extract(epoch FROM started_at) * 1000000)::bigint AS started_at, \
     (extract(epoch FROM clock_timestamp() - heartbeat_at) * 1000000)::bigint AS heartbeat_age, \
     (extract(epoch FROM lease_until - clock_timestamp()) * 1000000)::bigint AS lease_left, \
     (SELECT count(*) FROM runs WHERE runs.instance = instances.id AND runs.state = 'running') AS runs \
     FROM instances WHERE id <> $1 AND (lease_until > clock_timestamp() OR \
        (NOT draining AND lease_until > clock_timestamp() - interval '10 minutes') OR \
        EXISTS (SELECT 1 FROM runs WHERE runs.instance = instances.id AND runs.state = 'running')) \
     ORDER BY started_at, id";

const TOTALS: &str = "SELECT COALESCE(sum(queued + held), 0)::bigint AS queued, COALESCE(sum(running), 0)::bigint AS running, \
     (SELECT count(*) FROM runs WHERE state = 'waiting') AS waiting FROM accounts WHERE queued > 0 OR held > 0 OR running > 0";

pub(super) async fn overview(pool: &Pool) -> Result<FleetOverview, StoreError> {
    let instances = sqlx::query(INSTANCES).bind(NOBODY.id_bytes());
    let instances = pool.rows(instances).await?;
    let totals = pool
        .row(sqlx::query(TOTALS))
        .await?
        .ok_or_else(|| rows::damaged("totals"))?;
    Ok(FleetOverview {
        instances: instances.iter().map(view).collect::<Result<_, _>>()?,
        queued: counted(&totals, "queued")?,
        running: counted(&totals, "running")?,
        waiting: counted(&totals, "waiting")?,
    })
}

fn view(row: &PgRow) -> Result<InstanceView, StoreError> {
    let small = |column| counted(row, column).map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    let lease_left: i64 = rows::get(row, "lease_left")?;
    let heartbeat_age: i64 = rows::get(row, "heartbeat_age")?;
    Ok(InstanceView {
        id: InstanceId::from_uuid(rows::uuid(row, "id")?),
        name: rows::get(row, "name")?,
        version: rows::get(row, "version")?,
        started_at: Timestamp::from_micros(rows::get(row, "started_at")?),
        heartbeat_age: Duration::from_micros(u64::try_from(heartbeat_age).unwrap_or(0)),
        lease_left: u64::try_from(lease_left)
            .ok()
            .filter(|left| *left > 0)
            .map(Duration::from_micros),
        load: InstanceLoad {
            permits_limit: small("permits_limit")?,
            permits_in_use: small("permits_in_use")?,
            draining: rows::get(row, "draining")?,
        },
        runs: counted(row, "runs")?,
    })
}
