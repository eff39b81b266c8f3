//! No column is forgotten: each one of both schemas is moved, or stands here with what becomes of it.

use std::collections::BTreeSet;

use super::*;

/// Tables of the source that are not moved.
const LEFT_BEHIND: [&str; 2] = [
    // What the migrations of each database are.
    "_sqlx_migrations",
    // Where SQLite's trial writes go.
    "pings",
];

/// Columns that only the target has: what it makes of them by itself.
const OWN_OF_TARGET: [&str; 6] = [
    // From the tiers, when an instance starts.
    "accounts.slot_limit",
    // Nobody has had a turn yet.
    "accounts.turn",
    // See `SET_PLACES`.
    "runs.place",
    // Nothing was told, nothing was asked for.
    "runs.told_position",
    "runs.told_at",
    "runs.cancel_requested",
];

const OWN_TABLES_OF_TARGET: [&str; 5] = [
    "instances",
    "tiers",
    "writer_lanes",
    "store_migration",
    "_sqlx_migrations",
];

fn moved() -> BTreeSet<String> {
    let columns = COPIED.iter().flat_map(|table| {
        let names = table.columns.iter().map(|column| column.name);
        names.map(|name| format!("{}.{name}", table.name))
    });
    columns.collect()
}

#[tokio::test]
async fn every_column_of_the_source_is_moved() {
    let site = Site::new().await;
    let columns: Vec<String> = sqlx::query_scalar(
        "SELECT tables.name || '.' || columns.name FROM sqlite_schema AS tables, pragma_table_info(tables.name) AS columns \
         WHERE tables.type = 'table'",
    )
    .fetch_all(&mut site.source().await)
    .await
    .expect("the schema");
    let moved = moved();
    let forgotten: Vec<&String> = columns
        .iter()
        .filter(|column| {
            LEFT_BEHIND
                .iter()
                .all(|table| !column.starts_with(&format!("{table}.")))
        })
        .filter(|column| !moved.contains(*column))
        .collect();
    assert!(forgotten.is_empty(), "{forgotten:?} would be lost");
    assert!(columns.len() > 30, "{columns:?}");
}

#[tokio::test]
async fn every_column_of_the_target_is_filled_or_known() {
    let site = Site::new().await;
    site.run_to_success().await;
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT table_name::text, column_name::text FROM information_schema.columns WHERE table_schema = current_schema()",
    )
    .fetch_all(&mut site.target().await)
    .await
    .expect("the schema");
    let moved = moved();
    let unknown: Vec<String> = columns
        .iter()
        .filter(|(table, _)| !OWN_TABLES_OF_TARGET.contains(&table.as_str()))
        .map(|(table, column)| format!("{table}.{column}"))
        .filter(|column| !moved.contains(column) && !OWN_OF_TARGET.contains(&column.as_str()))
        .collect();
    assert!(unknown.is_empty(), "nobody has thought of {unknown:?}");
}
