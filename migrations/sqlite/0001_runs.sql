-- Times are microseconds since 1970 in UTC. Ids are the 16 bytes of a UUIDv7, so they sort by the time they were made.

CREATE TABLE runs (
    id               BLOB    NOT NULL PRIMARY KEY,
    account          TEXT    NOT NULL,
    tier             TEXT    NOT NULL,
    state            TEXT    NOT NULL,
    epoch            INTEGER NOT NULL,
    instance         BLOB,
    spec             TEXT    NOT NULL,
    error            TEXT,
    waiting          TEXT,
    steps            INTEGER NOT NULL DEFAULT 0,
    input_tokens     INTEGER NOT NULL DEFAULT 0,
    output_tokens    INTEGER NOT NULL DEFAULT 0,
    next_seq         INTEGER NOT NULL,
    reserved_seq     INTEGER NOT NULL DEFAULT 0,
    next_position    INTEGER NOT NULL,
    created_at       INTEGER NOT NULL,
    started_at       INTEGER,
    ended_at         INTEGER,
    queue_deadline   INTEGER,
    idempotency_key  TEXT,
    request_hash     BLOB
) WITHOUT ROWID;

CREATE INDEX runs_of_account ON runs (account, id);
CREATE INDEX runs_alive ON runs (state, id) WHERE state IN ('queued', 'running', 'waiting');
CREATE UNIQUE INDEX runs_idempotency ON runs (account, idempotency_key) WHERE idempotency_key IS NOT NULL;

CREATE TABLE items (
    run       BLOB    NOT NULL,
    position  INTEGER NOT NULL,
    item      TEXT    NOT NULL,
    PRIMARY KEY (run, position)
) WITHOUT ROWID;

-- Events as they are sent: a batch of neighbouring ones in one row.
CREATE TABLE event_batches (
    run       BLOB    NOT NULL,
    last_seq  INTEGER NOT NULL,
    bytes     BLOB    NOT NULL,
    PRIMARY KEY (run, last_seq)
) WITHOUT ROWID;

-- Runs in state 'running' by account; changed only in the transaction that moves a run.
CREATE TABLE slots (
    account  TEXT    NOT NULL PRIMARY KEY,
    running  INTEGER NOT NULL CHECK (running >= 0)
) WITHOUT ROWID;

CREATE TABLE accounts (
    account  TEXT NOT NULL PRIMARY KEY,
    tier     TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE api_keys (
    id           BLOB    NOT NULL PRIMARY KEY,
    account      TEXT    NOT NULL REFERENCES accounts (account),
    secret_hash  BLOB    NOT NULL UNIQUE,
    last_four    TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    revoked_at   INTEGER
) WITHOUT ROWID;
