//! Copies rows in the order of their keys, a batch at a time, so that an attempt that was cut off is taken up behind its last row.

use futures::TryStreamExt;
use futures::stream::BoxStream;

use super::error::MigrationError;
use super::progress::{Phase, Progress, Teller};
use super::row::{Row, Value};
use super::source::Source;
use super::tables::Table;
use super::target::Target;

/// Rows in one batch, at most.
const BATCH_ROWS: usize = 5000;
/// Bytes in one batch, unless a single row has more.
const BATCH_BYTES: usize = 4 << 20;

/// Copies what the target lacks, and tells of each batch that is durable.
pub(super) async fn copy_table(
    table: &'static Table,
    source: &mut Source,
    target: &Target,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), MigrationError> {
    let last_key = target.last_key(table).await?;
    let of = source.count(table, last_key.as_deref()).await?;
    let mut teller = Teller::new(Phase::Copying, table, of, progress);
    let mut rows = source.rows(table, last_key.as_deref());
    let mut batch = next_batch(&mut rows).await?;
    while !batch.is_empty() {
        let count = batch.len() as u64;
        let (inserted, next) = tokio::join!(target.insert(table, batch), next_batch(&mut rows));
        inserted?;
        teller.add(count);
        batch = next?;
    }
    Ok(())
}

async fn next_batch(rows: &mut BoxStream<'_, Result<Row, MigrationError>>) -> Result<Vec<Row>, MigrationError> {
    let mut batch = Vec::new();
    let mut bytes = 0;
    while batch.len() < BATCH_ROWS && bytes < BATCH_BYTES {
        let Some(row) = rows.try_next().await? else {
            break;
        };
        bytes += row.iter().map(Value::size).sum::<usize>();
        batch.push(row);
    }
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, StreamExt, stream};

    use super::*;

    fn batches(count: usize, bytes: usize) -> Vec<usize> {
        let rows = (0..count).map(|_| Ok(vec![Value::Bytes(vec![0; bytes])]));
        let mut rows = stream::iter(rows).boxed();
        let mut batches = Vec::new();
        loop {
            let batch = next_batch(&mut rows).now_or_never().expect("nothing is waited for");
            match batch.expect("no error").len() {
                0 => return batches,
                rows => batches.push(rows),
            }
        }
    }

    #[test]
    fn a_batch_has_few_rows_and_few_bytes() {
        assert_eq!(batches(BATCH_ROWS * 2 + 1, 0), [BATCH_ROWS, BATCH_ROWS, 1]);
        assert_eq!(batches(5, BATCH_BYTES * 2 / 3), [2, 2, 1]);
        assert_eq!(batches(2, BATCH_BYTES * 3), [1, 1]);
    }
}
