//! What a new instance takes over.

use callboard_actors::ids::InstanceId;
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

const QUEUED: &str = "SELECT id, account, tier, queue_deadline FROM runs \
                      WHERE state = 'queued' ORDER BY id";

/// The condition of its index, word for word.
const IN_THREADS: &str = "SELECT id, thread_id, thread_position FROM runs \
     WHERE thread_id IS NOT NULL AND state IN ('queued', 'running', 'waiting') ORDER BY thread_id, thread_position";

/// Marks are for runs of threads alone.
const TO_CANCEL: &str = "SELECT id FROM runs \
     WHERE thread_id IS NOT NULL AND state IN ('queued', 'running', 'waiting') AND cancel_requested ORDER BY id";

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
        charge_holds_of_others(transaction, self.instance).await?;
        let take_over = sqlx::query(TAKE_OVER).bind(instance.clone()).bind(instance);
        transaction.execute(take_over).await?;
        let mut in_threads = Vec::new();
        for row in transaction.rows(sqlx::query(IN_THREADS)).await? {
            let thread = rows::run_thread(&row)?.ok_or_else(|| rows::damaged("thread_id"))?;
            in_threads.push((thread, rows::run_id(&row)?));
        }
        let marked = transaction.rows(sqlx::query(TO_CANCEL)).await?;
        let to_cancel = marked.iter().map(rows::run_id).collect::<Result<_, _>>()?;
        Ok(Recovered {
            running,
            queued,
            in_threads,
            to_cancel,
        })
    }
}
