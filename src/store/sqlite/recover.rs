//! What a new instance takes over.

use std::collections::BTreeMap;

use callboard_actors::ids::{AccountId, InstanceId};
use callboard_actors::ports::store::Recovered;

use super::budgets::charge_holds_of_others;
use super::rows::{self, IdBytes, run_columns};
use super::transaction::{WriteFailure, WriteTransaction};
use super::writer::Write;

const LEFT_RUNNING: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM runs JOIN run_specs ON run_specs.run_id = runs.id \
     WHERE runs.state = 'running' AND runs.instance <> ? ORDER BY runs.id"
);

const TAKE_OVER: &str = "UPDATE runs SET epoch = epoch + 1, instance = ? WHERE state = 'running' AND instance <> ?";

const QUEUED: &str = "SELECT id, account, tier, created_at, started_at, queue_deadline FROM runs \
                      WHERE state = 'queued' ORDER BY id";

const SLOTS: &str = "SELECT account, count(*) AS running FROM runs WHERE state = 'running' GROUP BY account";

/// As [`Store::recover`](callboard_actors::ports::Store::recover).
#[derive(Debug)]
pub(super) struct Recover {
    pub(super) instance: InstanceId,
}

impl Write for Recover {
    type Answer = Recovered;

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<Recovered, WriteFailure> {
        let instance = self.instance.id_bytes();
        let left = transaction
            .rows(sqlx::query(LEFT_RUNNING).bind(instance.clone()))
            .await?;
        let mut running = left.iter().map(rows::run_record).collect::<Result<Vec<_>, _>>()?;
        for record in &mut running {
            record.epoch += 1;
        }
        let queued = transaction.rows(sqlx::query(QUEUED)).await?;
        let queued = queued.iter().map(rows::queued_run).collect::<Result<Vec<_>, _>>()?;
        let mut slots = BTreeMap::<AccountId, u32>::new();
        for row in transaction.rows(sqlx::query(SLOTS)).await? {
            slots.insert(rows::account(&row)?, rows::get(&row, "running")?);
        }
        charge_holds_of_others(transaction, self.instance).await?;
        let take_over = sqlx::query(TAKE_OVER).bind(instance.clone()).bind(instance);
        transaction.execute(take_over).await?;
        Ok(Recovered { running, queued, slots })
    }
}
