//! What the server's plan of a statement says.

use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection};

/// What the server did for a statement.
pub(super) struct Plan {
    pub(super) text: String,
    root: Value,
}

impl Plan {
    /// Runs the statement, as if it had been prepared and run often (`generic`) or with these very arguments in mind.
    pub(super) async fn of(connection: &mut PgConnection, statement: &str, arguments: &str, generic: bool) -> Self {
        let mode = if generic {
            "force_generic_plan"
        } else {
            "force_custom_plan"
        };
        let script = format!("DEALLOCATE ALL; SET plan_cache_mode = {mode}; PREPARE explained AS {statement}");
        sqlx::raw_sql(AssertSqlSafe(script))
            .execute(&mut *connection)
            .await
            .expect("prepares");
        let explain = format!("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) EXECUTE explained ({arguments})");
        let row = sqlx::raw_sql(AssertSqlSafe(explain))
            .fetch_one(&mut *connection)
            .await
            .expect("explains");
        let mut plans: Value = sqlx::Row::get(&row, 0);
        Self {
            text: format!("{statement}\n{plans:#}"),
            root: plans[0]["Plan"].take(),
        }
    }

    /// Pages looked at, in memory or on disk.
    pub(super) fn pages(&self) -> u64 {
        number(&self.root, "Shared Hit Blocks") + number(&self.root, "Shared Read Blocks")
    }

    pub(super) fn nodes(&self) -> Vec<&Value> {
        let mut nodes = vec![&self.root];
        let mut next = 0;
        while let Some(node) = nodes.get(next) {
            nodes.extend(node["Plans"].as_array().into_iter().flatten());
            next += 1;
        }
        nodes
    }
}

pub(super) fn number(node: &Value, key: &str) -> u64 {
    node[key].as_f64().unwrap_or(0.0) as u64
}
