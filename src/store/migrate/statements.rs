//! The statements of a migration, made from the list of its tables, and rows in the words of people.

use uuid::Uuid;

use super::row::Value;
use super::tables::{Column, Kind, Table};

impl Table {
    fn key_columns(&self) -> &'static [Column] {
        &self.columns[..self.key]
    }

    /// All rows of the source in the order of their keys; with `after`, those above the key whose values are bound.
    pub(super) fn select_from_source(&self, after: bool) -> String {
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|column| format!("{} AS {}", column.source, quoted(column.name)))
            .collect();
        format!(
            "SELECT {} FROM {} AS {}{} ORDER BY {}",
            columns.join(", "),
            self.source,
            quoted(self.name),
            self.bounds_in_source(after),
            self.names_of_key()
        )
    }

    /// How many rows [`Table::select_from_source`] gives.
    pub(super) fn count_in_source(&self, after: bool) -> String {
        format!(
            "SELECT count(*) FROM {} AS {}{}",
            self.source,
            quoted(self.name),
            self.bounds_in_source(after)
        )
    }

    fn bounds_in_source(&self, after: bool) -> String {
        if !after {
            return String::new();
        }
        let marks = vec!["?"; self.key].join(", ");
        format!(" WHERE ({}) > ({marks})", self.names_of_key())
    }

    /// As [`Table::select_from_source`], of the target and at most `$1` rows. Numbers come as `BIGINT` whatever the column is.
    pub(super) fn select_from_target(&self, after: bool) -> String {
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|column| match column.kind {
                Kind::Number => format!("{0}::bigint AS {0}", column.name),
                Kind::Flag => format!("{0}::int::bigint AS {0}", column.name),
                Kind::Text | Kind::Bytes => column.name.to_owned(),
            })
            .collect();
        let keys = self.ordered_key_of_target("");
        let bounds = if after {
            let marks: Vec<String> = (0..self.key).map(|index| format!("${}", index + 2)).collect();
            format!(" WHERE ({}) > ({})", keys, marks.join(", "))
        } else {
            String::new()
        };
        format!(
            "SELECT {} FROM {} AS {}{bounds} ORDER BY {keys} LIMIT $1",
            columns.join(", "),
            self.target,
            quoted(self.name)
        )
    }

    /// The highest key of the target.
    pub(super) fn select_last_key(&self) -> String {
        format!(
            "SELECT {} FROM {} AS {} ORDER BY {} LIMIT 1",
            self.names_of_key(),
            self.target,
            quoted(self.name),
            self.ordered_key_of_target(" DESC")
        )
    }

    /// Takes an array for each column. A row that is there already is left as it is: the last batch of an attempt that was killed may
    /// have been under way.
    pub(super) fn insert_into_target(&self) -> String {
        let names: Vec<&str> = self.columns.iter().map(|column| column.name).collect();
        let arrays: Vec<String> = self
            .columns
            .iter()
            .enumerate()
            .map(|(index, column)| {
                let of = match column.kind {
                    Kind::Number | Kind::Flag => "bigint",
                    Kind::Text => "text",
                    Kind::Bytes => "bytea",
                };
                format!("${}::{of}[]", index + 1)
            })
            .collect();
        let values: Vec<String> = self
            .columns
            .iter()
            .map(|column| match column.kind {
                Kind::Flag => format!("moved.{} <> 0", column.name),
                Kind::Number | Kind::Text | Kind::Bytes => format!("moved.{}", column.name),
            })
            .collect();
        let names = names.join(", ");
        format!(
            "INSERT INTO {} ({names}) SELECT {} FROM unnest({}) AS moved ({names}) ON CONFLICT DO NOTHING",
            self.target,
            values.join(", "),
            arrays.join(", ")
        )
    }

    fn names_of_key(&self) -> String {
        let names: Vec<&str> = self.key_columns().iter().map(|column| column.name).collect();
        names.join(", ")
    }

    /// Texts byte by byte, as SQLite orders them, whatever the database's own order is.
    fn ordered_key_of_target(&self, direction: &str) -> String {
        let keys: Vec<String> = self
            .key_columns()
            .iter()
            .map(|column| {
                let collation = if column.kind == Kind::Text {
                    " COLLATE \"C\""
                } else {
                    ""
                };
                format!("{}.{}{collation}{direction}", quoted(self.name), column.name)
            })
            .collect();
        keys.join(", ")
    }

    /// A row's key as people know it: `run_…, position 3`.
    pub(super) fn describe_key(&self, row: &[Value]) -> String {
        let parts: Vec<String> = self
            .key_columns()
            .iter()
            .zip(row)
            .map(|(column, value)| match value {
                Value::Bytes(id) => match Uuid::from_slice(id) {
                    Ok(id) => format!("{}{}", self.id_prefix, id.as_simple()),
                    Err(_) => format!("an id of {} bytes", id.len()),
                },
                Value::Text(text) => text.clone(),
                Value::Number(number) => format!("{} {number}", column.name),
                Value::Null => "NULL".to_owned(),
            })
            .collect();
        parts.join(", ")
    }

    /// The columns in which two rows differ.
    pub(super) fn differing_columns(&self, one: &[Value], other: &[Value]) -> Vec<&'static str> {
        let values = one.iter().zip(other);
        let columns = self.columns.iter().zip(values);
        columns
            .filter(|(_, (one, other))| one != other)
            .map(|(column, _)| column.name)
            .collect()
    }
}

fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}
