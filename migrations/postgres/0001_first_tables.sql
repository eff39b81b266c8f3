-- Ids are the 16 bytes of a UUIDv7, so that they sort by time; times are microseconds since 1970 in UTC.

-- Who serves this database. A row stays for as long as runs are its own, and a while longer, for people to read. The one without a name
-- never lived: it owns what an instance gave up.
CREATE TABLE instances (
    id             BYTEA       NOT NULL PRIMARY KEY,
    name           TEXT        NOT NULL,
    version        TEXT        NOT NULL,
    shares_events  BOOLEAN     NOT NULL,
    -- No two living instances are at one place. NULL: unknown.
    place          TEXT,
    started_at     TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    heartbeat_at   TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    lease_until    TIMESTAMPTZ NOT NULL,
    permits_limit  BIGINT      NOT NULL DEFAULT 0,
    permits_in_use BIGINT      NOT NULL DEFAULT 0,
    draining       BOOLEAN     NOT NULL DEFAULT FALSE
) WITH (fillfactor = 50);

INSERT INTO instances (id, name, version, shares_events, lease_until)
VALUES ('\x00000000000000000000000000000000', '', '', TRUE, to_timestamp(0));

-- What each tier allows, as the last instance to start had it in its configuration. NULL: no limit.
CREATE TABLE tiers (
    name            TEXT NOT NULL PRIMARY KEY,
    concurrent_runs INTEGER
);

-- `running` and `queued` count the account's runs in these states. Every transaction that moves a run changes them under this row's
-- lock, so a quota is exact for any number of instances. Locks are taken accounts first, by name, then runs, by id.
CREATE TABLE accounts (
    account    TEXT    NOT NULL PRIMARY KEY,
    tier       TEXT    NOT NULL,
    slot_limit INTEGER CHECK (slot_limit >= 0),
    running    INTEGER NOT NULL DEFAULT 0 CHECK (running >= 0),
    queued     BIGINT  NOT NULL DEFAULT 0 CHECK (queued >= 0),
    -- The place of the next run in the account's line.
    next_place BIGINT  NOT NULL DEFAULT 0,
    -- When a run of the account last left the line, microseconds by this database's clock: who waits longest is next.
    turn       BIGINT  NOT NULL DEFAULT 0
);

-- The accounts that could start something now, in the order of their turns.
CREATE INDEX accounts_claimable ON accounts (turn) WHERE queued > 0 AND (slot_limit IS NULL OR running < slot_limit);
CREATE INDEX accounts_queued ON accounts (tier) INCLUDE (queued) WHERE queued > 0;

-- What changes while a run lives: narrow, because every commit writes the row anew.
CREATE TABLE runs (
    id               BYTEA    NOT NULL PRIMARY KEY,
    account          TEXT     NOT NULL REFERENCES accounts (account),
    tier             TEXT     NOT NULL,
    state            TEXT     NOT NULL
        CHECK (state IN ('queued', 'running', 'waiting', 'completed', 'failed', 'cancelled')),
    epoch            BIGINT   NOT NULL,
    instance         BYTEA    NOT NULL,
    next_seq         BIGINT   NOT NULL,
    reserved_seq     BIGINT   NOT NULL,
    -- The place of the next item.
    next_item        BIGINT   NOT NULL,
    steps            BIGINT   NOT NULL DEFAULT 0,
    input_tokens     BIGINT   NOT NULL DEFAULT 0,
    output_tokens    BIGINT   NOT NULL DEFAULT 0,
    error            TEXT,
    waiting          TEXT,
    created_at       BIGINT   NOT NULL,
    started_at       BIGINT,
    ended_at         BIGINT,
    queue_deadline   BIGINT,
    idempotency_key  TEXT,
    request_hash     BYTEA,
    -- Its place among the account's queued runs: by `line`, then by `place`. Line 0 comes before others (handed over or resumed); 1 is new.
    line             SMALLINT NOT NULL DEFAULT 1,
    place            BIGINT   NOT NULL DEFAULT 0,
    -- The position that its log told last, and when, by this database's clock.
    told_position    BIGINT,
    told_at          BIGINT,
    cancel_requested BOOLEAN  NOT NULL DEFAULT FALSE,
    -- Where the run's events are: 0 in rows as they were committed, 1 archived, 2 forgotten.
    history          SMALLINT NOT NULL DEFAULT 0
) WITH (fillfactor = 80);

CREATE INDEX runs_of_account ON runs (account, id);
CREATE INDEX runs_running ON runs (instance, id) WHERE state = 'running';
CREATE INDEX runs_to_cancel ON runs (instance) WHERE state = 'running' AND cancel_requested;
CREATE INDEX runs_running_of_account ON runs (account, id) WHERE state = 'running';
CREATE INDEX runs_queued ON runs (account, line, place) WHERE state = 'queued';
CREATE INDEX runs_queue_deadline ON runs (queue_deadline) WHERE state = 'queued';
CREATE INDEX runs_waiting ON runs (account, id) WHERE state = 'waiting';
CREATE INDEX runs_failed ON runs (account, id) WHERE state = 'failed';
CREATE INDEX runs_cancelled ON runs (account, id) WHERE state = 'cancelled';
CREATE UNIQUE INDEX runs_idempotency ON runs (account, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX runs_idempotency_age ON runs (created_at) WHERE idempotency_key IS NOT NULL;
-- What is to be archived and what is to be forgotten next.
CREATE INDEX runs_history ON runs (history, ended_at) WHERE ended_at IS NOT NULL AND history < 2;

-- What never changes about a run, and may be long.
CREATE TABLE run_specs (
    run_id BYTEA NOT NULL PRIMARY KEY,
    spec   TEXT  NOT NULL
);

-- `content` is the item as JSON.
CREATE TABLE items (
    run_id   BYTEA  NOT NULL,
    position BIGINT NOT NULL,
    content  TEXT   NOT NULL,
    PRIMARY KEY (run_id, position)
);

-- Events as they are sent: frames of one write, one after the other. The key is the last seq, so that "all after n" is one seek.
-- After the run's end the rows are archived: rewritten into few.
CREATE TABLE event_batches (
    run_id    BYTEA    NOT NULL,
    first_seq BIGINT   NOT NULL,
    last_seq  BIGINT   NOT NULL,
    frames    BYTEA    NOT NULL,
    -- How `frames` is encoded: 0 as sent, 1 compressed with zstd.
    encoding  SMALLINT NOT NULL DEFAULT 0,
    PRIMARY KEY (run_id, last_seq)
);

CREATE TABLE api_keys (
    id          BYTEA  NOT NULL PRIMARY KEY,
    account     TEXT   NOT NULL REFERENCES accounts (account),
    secret_hash BYTEA  NOT NULL UNIQUE,
    last_four   TEXT   NOT NULL,
    created_at  BIGINT NOT NULL,
    revoked_at  BIGINT
);

-- The last batch that each writer lane committed: whoever lost the answer to a COMMIT finds it here.
CREATE TABLE writer_lanes (
    id         BYTEA       NOT NULL PRIMARY KEY,
    batch      BIGINT      NOT NULL,
    written_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

-- How far `callboard migrate-store` is, which fills this database from another store. No row: it never did. Unless `state` is 'done', what
-- is here is not all there is, and no instance may serve it.
CREATE TABLE store_migration (
    id           SMALLINT    NOT NULL PRIMARY KEY CHECK (id = 1),
    source       BYTEA       NOT NULL,
    source_state BYTEA       NOT NULL,
    state        TEXT        NOT NULL CHECK (state IN ('copying', 'damaged', 'done')),
    started_at   TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    ended_at     TIMESTAMPTZ
);
