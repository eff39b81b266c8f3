-- Ids are the 16 bytes of a UUIDv7, so that they sort by time; times are microseconds since 1970 in UTC.

-- What changes while a run lives: narrow, because every commit writes the row anew.
-- A Slot is no row of its own: an account holds one for each of its rows in `running`, so the two cannot disagree.
CREATE TABLE runs (
    id              BLOB    NOT NULL PRIMARY KEY,
    account         TEXT    NOT NULL,
    tier            TEXT    NOT NULL,
    state           TEXT    NOT NULL
        CHECK (state IN ('queued', 'running', 'waiting', 'completed', 'failed', 'cancelled')),
    epoch           INTEGER NOT NULL,
    instance        BLOB    NOT NULL,
    next_seq        INTEGER NOT NULL,
    reserved_seq    INTEGER NOT NULL,
    steps           INTEGER NOT NULL DEFAULT 0,
    input_tokens    INTEGER NOT NULL DEFAULT 0,
    output_tokens   INTEGER NOT NULL DEFAULT 0,
    error           TEXT,
    waiting         TEXT,
    created_at      INTEGER NOT NULL,
    started_at      INTEGER,
    ended_at        INTEGER,
    queue_deadline  INTEGER,
    idempotency_key TEXT,
    request_hash    BLOB
) STRICT, WITHOUT ROWID;

CREATE INDEX runs_of_account ON runs (account, id);
CREATE INDEX runs_running ON runs (account, id) WHERE state = 'running';
CREATE INDEX runs_queued ON runs (account, id) WHERE state = 'queued';
CREATE INDEX runs_waiting ON runs (account, id) WHERE state = 'waiting';
CREATE INDEX runs_failed ON runs (account, id) WHERE state = 'failed';
CREATE INDEX runs_cancelled ON runs (account, id) WHERE state = 'cancelled';
CREATE UNIQUE INDEX runs_idempotency ON runs (account, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX runs_idempotency_age ON runs (created_at) WHERE idempotency_key IS NOT NULL;

-- What never changes about a run, and may be long.
CREATE TABLE run_specs (
    run_id BLOB NOT NULL PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    spec   TEXT NOT NULL
) STRICT;

-- `content` is the item as JSON.
CREATE TABLE items (
    run_id   BLOB    NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    content  TEXT    NOT NULL,
    PRIMARY KEY (run_id, position)
) STRICT;

-- Events as they are sent: frames of one write, one after the other. The key is the last seq, so that "all after n" is one seek.
CREATE TABLE event_batches (
    run_id    BLOB    NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    first_seq INTEGER NOT NULL,
    last_seq  INTEGER NOT NULL,
    frames    BLOB    NOT NULL,
    PRIMARY KEY (run_id, last_seq)
) STRICT;

CREATE TABLE accounts (
    account TEXT NOT NULL PRIMARY KEY,
    tier    TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE api_keys (
    id          BLOB    NOT NULL PRIMARY KEY,
    account     TEXT    NOT NULL REFERENCES accounts (account),
    secret_hash BLOB    NOT NULL UNIQUE,
    last_four   TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    revoked_at  INTEGER
) STRICT, WITHOUT ROWID;

-- Where a write is tried when someone asks whether one could be made.
CREATE TABLE pings (
    id    INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    count INTEGER NOT NULL
) STRICT;
INSERT INTO pings (id, count) VALUES (1, 0);
