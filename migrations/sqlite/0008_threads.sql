-- Conversations: their runs one after the other. The items of a thread are those of its runs; there is no second copy.

CREATE TABLE threads (
    id            BLOB    NOT NULL PRIMARY KEY,
    account       TEXT    NOT NULL,
    metadata      TEXT    NOT NULL,
    created_at    INTEGER NOT NULL,
    -- The place of its next run.
    next_position INTEGER NOT NULL DEFAULT 1,
    deleted_at    INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX threads_of_account ON threads (account, id) WHERE deleted_at IS NULL;

-- What was said before the first run. `content` is the item as JSON.
CREATE TABLE thread_items (
    thread_id BLOB    NOT NULL,
    position  INTEGER NOT NULL,
    content   TEXT    NOT NULL,
    PRIMARY KEY (thread_id, position)
) STRICT;

ALTER TABLE runs ADD COLUMN thread_id BLOB;
ALTER TABLE runs ADD COLUMN thread_position INTEGER;
-- Its items are no part of its thread's history.
ALTER TABLE runs ADD COLUMN hidden INTEGER NOT NULL DEFAULT 0;
-- It is to be cancelled, whatever becomes of whoever wanted that.
ALTER TABLE runs ADD COLUMN cancel_requested INTEGER NOT NULL DEFAULT 0;

CREATE UNIQUE INDEX runs_of_thread ON runs (thread_id, thread_position) WHERE thread_id IS NOT NULL;
-- Those that the ones behind them wait for.
CREATE INDEX runs_of_thread_without_end ON runs (thread_id, thread_position)
    WHERE thread_id IS NOT NULL AND state IN ('queued', 'running', 'waiting');
-- Whatever asks for it: of a thread's runs, one runs.
CREATE UNIQUE INDEX runs_running_in_thread ON runs (thread_id) WHERE thread_id IS NOT NULL AND state = 'running';
