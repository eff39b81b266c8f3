-- Conversations: their runs one after the other. The items of a thread are those of its runs; there is no second copy.

CREATE TABLE threads (
    id            BYTEA  NOT NULL PRIMARY KEY,
    account       TEXT   NOT NULL,
    metadata      TEXT   NOT NULL,
    created_at    BIGINT NOT NULL,
    -- The place of its next run. Locked after accounts and before runs.
    next_position BIGINT NOT NULL DEFAULT 1,
    deleted_at    BIGINT
);

CREATE INDEX threads_of_account ON threads (account, id) WHERE deleted_at IS NULL;

-- What was said before the first run. `content` is the item as JSON.
CREATE TABLE thread_items (
    thread_id BYTEA  NOT NULL,
    position  BIGINT NOT NULL,
    content   TEXT   NOT NULL,
    PRIMARY KEY (thread_id, position)
);

ALTER TABLE runs ADD COLUMN thread_id BYTEA;
ALTER TABLE runs ADD COLUMN thread_position BIGINT;
-- Its items are no part of its thread's history.
ALTER TABLE runs ADD COLUMN hidden BOOLEAN NOT NULL DEFAULT FALSE;
-- It is queued and waits for a run before it in its thread: it stands in no line and is not counted in `accounts.queued`.
ALTER TABLE runs ADD COLUMN held BOOLEAN NOT NULL DEFAULT FALSE;
-- The account's runs that are held.
ALTER TABLE accounts ADD COLUMN held BIGINT NOT NULL DEFAULT 0 CHECK (held >= 0);

CREATE UNIQUE INDEX runs_of_thread ON runs (thread_id, thread_position) WHERE thread_id IS NOT NULL;
-- Those that the ones behind them wait for.
CREATE INDEX runs_of_thread_without_end ON runs (thread_id, thread_position)
    WHERE thread_id IS NOT NULL AND state IN ('queued', 'running', 'waiting');
-- Whatever asks for it: of a thread's runs, one runs.
CREATE UNIQUE INDEX runs_running_in_thread ON runs (thread_id) WHERE thread_id IS NOT NULL AND state = 'running';
CREATE INDEX runs_in_line ON runs (account, line, place) WHERE state = 'queued' AND NOT held;
CREATE INDEX runs_parked_to_cancel ON runs (id) WHERE state IN ('queued', 'waiting') AND cancel_requested;
CREATE INDEX accounts_held ON accounts (tier) INCLUDE (held) WHERE held > 0;
