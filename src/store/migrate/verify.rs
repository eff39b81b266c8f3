//! Compares what both databases really have, row by row: both are read anew, in the order of their keys.

use std::cmp::Ordering;
use std::fmt;

use futures::TryStreamExt;

use super::error::MigrationError;
use super::progress::{Phase, Progress, Teller};
use super::row::TableHash;
use super::source::Source;
use super::tables::Table;
use super::target::Target;

/// Rows between two signs of life.
const TELL_EVERY: u64 = 1000;

/// What both sides have of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// Which.
    pub table: &'static str,
    /// Of the source.
    pub source: TableHash,
    /// Of the target.
    pub target: TableHash,
    /// The row with the lowest key that is not the same on both sides.
    pub first_difference: Option<Difference>,
}

/// A row that is not the same on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Which row, as people know it.
    pub key: String,
    /// What is wrong with it.
    pub kind: DifferenceKind,
}

/// What is wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DifferenceKind {
    /// Only the source has it.
    Missing,
    /// Only the target has it.
    Unexpected,
    /// These columns differ.
    Columns(Vec<&'static str>),
}

impl Comparison {
    /// Whether both sides have the same rows.
    pub fn is_same(&self) -> bool {
        self.source == self.target && self.first_difference.is_none()
    }
}

/// As the end of a sentence that begins with the table's name.
impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            DifferenceKind::Missing => write!(formatter, "{} is missing in the target", self.key),
            DifferenceKind::Unexpected => write!(formatter, "{} is in the target only", self.key),
            DifferenceKind::Columns(columns) => write!(formatter, "{} differs in {}", self.key, columns.join(", ")),
        }
    }
}

/// Reads all rows of both sides.
pub(super) async fn compare_table(
    table: &'static Table,
    source: &mut Source,
    target: &Target,
    progress: &mut dyn FnMut(Progress),
) -> Result<Comparison, MigrationError> {
    let of = source.count(table, None).await?;
    let mut teller = Teller::new(Phase::Comparing, table, of, progress);
    let mut comparison = Comparison {
        table: table.name,
        source: TableHash::default(),
        target: TableHash::default(),
        first_difference: None,
    };
    let mut ours = source.rows(table, None);
    let mut theirs = target.rows(table);
    let (mut our_row, mut their_row) = (ours.try_next().await?, theirs.next().await?);
    let mut untold = 0;
    loop {
        let order = match (&our_row, &their_row) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(our), Some(their)) => our[..table.key].cmp(&their[..table.key]),
        };
        let difference = match (&our_row, &their_row) {
            (Some(our), Some(their)) if order.is_eq() => {
                let columns = table.differing_columns(our, their);
                (!columns.is_empty()).then_some((our, DifferenceKind::Columns(columns)))
            }
            (Some(our), _) if order.is_lt() => Some((our, DifferenceKind::Missing)),
            (_, Some(their)) => Some((their, DifferenceKind::Unexpected)),
            _ => None,
        };
        if let Some((row, kind)) = difference
            && comparison.first_difference.is_none()
        {
            let key = table.describe_key(row);
            comparison.first_difference = Some(Difference { key, kind });
        }
        if order.is_le()
            && let Some(row) = our_row.take()
        {
            comparison.source.add(&row);
            our_row = ours.try_next().await?;
        }
        if order.is_ge()
            && let Some(row) = their_row.take()
        {
            comparison.target.add(&row);
            their_row = theirs.next().await?;
        }
        untold += 1;
        if untold == TELL_EVERY {
            teller.add(untold);
            untold = 0;
        }
    }
    if untold > 0 {
        teller.add(untold);
    }
    Ok(comparison)
}
