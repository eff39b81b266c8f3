//! The statements that read threads: the same for SQLite and PostgreSQL, with numbered placeholders.

/// `$1` the thread.
pub(super) const THREAD: &str =
    "SELECT id, account, metadata, created_at FROM threads WHERE id = $1 AND deleted_at IS NULL";

/// `$1` the account, `$2` above, `$3` how many.
pub(super) const LIST_THREADS: &str = "SELECT id, account, metadata, created_at FROM threads \
     WHERE account = $1 AND id < $2 AND deleted_at IS NULL ORDER BY id DESC LIMIT $3";

/// What the thread began with. `$1` the thread, `$2` after this place, `$3` how many.
pub(super) const FIRST_ITEMS: &str = "SELECT NULL AS run_id, CAST(0 AS BIGINT) AS run_position, position, content FROM thread_items \
     WHERE thread_id = $1 AND position > $2 ORDER BY position LIMIT $3";

/// The items of one run of a thread after a place: the rest of it. `$1` the thread, `$2` the run's place, `$3` after this place, `$4` how many.
pub(super) const ITEMS_OF_RUN: &str = "SELECT runs.id AS run_id, runs.thread_position AS run_position, items.position, items.content \
     FROM runs JOIN items ON items.run_id = runs.id \
     WHERE runs.thread_id = $1 AND runs.thread_position = $2 AND NOT runs.hidden AND items.position > $3 \
     ORDER BY items.position LIMIT $4";

/// The items of the runs after a place. `$1` the thread, `$2` the place, `$3` how many.
pub(super) const ITEMS_OF_LATER_RUNS: &str = "SELECT runs.id AS run_id, runs.thread_position AS run_position, items.position, items.content \
     FROM runs JOIN items ON items.run_id = runs.id \
     WHERE runs.thread_id = $1 AND runs.thread_position > $2 AND NOT runs.hidden \
     ORDER BY runs.thread_position, items.position LIMIT $3";

/// `$1` the thread, `$2` before this place, `$3` how many turns.
pub(super) const TURNS_BEFORE: &str = "SELECT turn.thread_position AS run_position, items.content \
     FROM (SELECT id, thread_position FROM runs WHERE thread_id = $1 AND thread_position < $2 AND NOT hidden \
           ORDER BY thread_position DESC LIMIT $3) AS turn \
     LEFT JOIN items ON items.run_id = turn.id ORDER BY turn.thread_position DESC, items.position";

/// `$1` the thread.
pub(super) const FIRST_TURN: &str =
    "SELECT CAST(0 AS BIGINT) AS run_position, content FROM thread_items WHERE thread_id = $1 ORDER BY position";

/// Turns and their bytes. `$1` the thread, `$2` before this place.
pub(super) const EXTENT_BEFORE: &str = "SELECT \
     (SELECT count(*) FROM runs WHERE thread_id = $1 AND thread_position < $2 AND NOT hidden) \
     + (SELECT count(*) FROM (SELECT 1 FROM thread_items WHERE thread_id = $1 LIMIT 1) AS first) AS turns, \
     CAST((SELECT COALESCE(sum(octet_length(items.content)), 0) FROM runs JOIN items ON items.run_id = runs.id \
           WHERE runs.thread_id = $1 AND runs.thread_position < $2 AND NOT runs.hidden) \
     + (SELECT COALESCE(sum(octet_length(content)), 0) FROM thread_items WHERE thread_id = $1) AS BIGINT) AS bytes";
