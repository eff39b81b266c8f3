//! Statements that are the same for every database, with numbered placeholders: what is bound to them, and reading with them.

use callboard_actors::ports::StoreError;

use crate::store::rows::Columns;

/// What is bound to a statement.
#[derive(Debug)]
pub(super) enum Value<'a> {
    Bytes(Vec<u8>),
    Text(&'a str),
    TextOrNull(Option<&'a str>),
    Number(i64),
}

/// Binds all of them.
macro_rules! with_values {
    ($text:expr, $values:expr) => {{
        let mut statement = sqlx::query($text);
        for value in $values {
            statement = match value {
                crate::store::reading::Value::Bytes(bytes) => statement.bind(bytes),
                crate::store::reading::Value::Text(text) => statement.bind(text),
                crate::store::reading::Value::TextOrNull(text) => statement.bind(text),
                crate::store::reading::Value::Number(number) => statement.bind(number),
            };
        }
        statement
    }};
}
pub(super) use with_values;

/// Connections of a database that read.
pub(super) trait ReadRows: Sync {
    type Row: Columns + Send + Sync;

    fn read_row(
        &self,
        text: &'static str,
        values: Vec<Value<'_>>,
    ) -> impl Future<Output = Result<Option<Self::Row>, StoreError>> + Send;

    fn read_rows(
        &self,
        text: &'static str,
        values: Vec<Value<'_>>,
    ) -> impl Future<Output = Result<Vec<Self::Row>, StoreError>> + Send;
}

/// Implements [`ReadRows`] for readers that have `row` and `rows`.
macro_rules! reads_rows {
    ($readers:ty, $row:ty) => {
        impl crate::store::reading::ReadRows for $readers {
            type Row = $row;

            async fn read_row(
                &self,
                text: &'static str,
                values: Vec<crate::store::reading::Value<'_>>,
            ) -> Result<Option<$row>, callboard_actors::ports::StoreError> {
                self.row(crate::store::reading::with_values!(text, values)).await
            }

            async fn read_rows(
                &self,
                text: &'static str,
                values: Vec<crate::store::reading::Value<'_>>,
            ) -> Result<Vec<$row>, callboard_actors::ports::StoreError> {
                self.rows(crate::store::reading::with_values!(text, values)).await
            }
        }
    };
}
pub(super) use reads_rows;
