//! Rows without their database, and the hashes they are compared by.

use std::fmt;

use sha2::{Digest, Sha256};

/// A value of a column, the same whatever database it is from. Ordered as both databases order keys: numbers by size, texts and bytes
/// byte by byte.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value {
    Null,
    Number(i64),
    Text(String),
    Bytes(Vec<u8>),
}

impl Value {
    /// Its kind, then its length, then itself: no two rows have one encoding.
    fn encode(&self, hasher: &mut Sha256) {
        let (kind, bytes): (u8, &[u8]) = match self {
            Self::Null => (0, &[]),
            Self::Number(number) => (1, &number.to_be_bytes()),
            Self::Text(text) => (2, text.as_bytes()),
            Self::Bytes(bytes) => (3, bytes),
        };
        hasher.update([kind]);
        hasher.update((bytes.len() as u64).to_be_bytes());
        hasher.update(bytes);
    }

    pub(super) fn number(self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(number),
            _ => None,
        }
    }

    pub(super) fn text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn bytes(self) -> Option<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// About how much memory it takes.
    pub(super) fn size(&self) -> usize {
        let content = match self {
            Self::Null | Self::Number(_) => 0,
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
        };
        size_of::<Self>() + content
    }
}

/// A row; its columns are in the order of its [`Table`](super::tables::Table).
pub(super) type Row = Vec<Value>;

/// SHA-256 of a row's columns in their order.
pub(super) fn hash_row(row: &[Value]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for value in row {
        value.encode(&mut hasher);
    }
    hasher.finalize().into()
}

/// How many rows a table has, and the sum of their hashes: the same in whatever order they come, and another if one is missing, there
/// twice, or different in any column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TableHash {
    rows: u64,
    sum: [u64; 4],
}

impl TableHash {
    /// How many rows there are.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    pub(super) fn add(&mut self, row: &[Value]) {
        self.rows += 1;
        let hash = hash_row(row);
        for (sum, part) in self.sum.iter_mut().zip(hash.chunks_exact(8)) {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(part);
            *sum = sum.wrapping_add(u64::from_be_bytes(bytes));
        }
    }
}

/// The sum as 64 hexadecimal digits.
impl fmt::Display for TableHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.sum {
            write!(formatter, "{part:016x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash_of(rows: &[Row]) -> TableHash {
        let mut hash = TableHash::default();
        for row in rows {
            hash.add(row);
        }
        hash
    }

    #[test]
    fn the_order_of_rows_does_not_matter_and_everything_else_does() {
        let text = |text: &str| Value::Text(text.to_owned());
        let first = vec![text("a"), Value::Number(1)];
        let second = vec![text("b"), Value::Null];
        let whole = hash_of(&[first.clone(), second.clone()]);
        assert_eq!(whole, hash_of(&[second.clone(), first.clone()]));
        assert_eq!(whole.to_string().len(), 64);
        let others = [
            vec![first.clone()],
            vec![first.clone(), second.clone(), second.clone()],
            vec![first.clone(), vec![text("b"), Value::Number(0)]],
            vec![first.clone(), vec![Value::Null, text("b")]],
            vec![first, vec![Value::Bytes(b"b".to_vec()), Value::Null]],
        ];
        for other in others {
            assert_ne!(whole, hash_of(&other), "{other:?}");
        }
    }

    #[test]
    fn what_belongs_to_one_column_is_not_taken_for_anothers() {
        let row = |one: &str, other: &str| vec![Value::Text(one.to_owned()), Value::Text(other.to_owned())];
        assert_ne!(hash_row(&row("ab", "c")), hash_row(&row("a", "bc")));
    }
}
