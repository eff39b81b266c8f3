-- What runs cost, what accounts have used, and what their model calls hold of their budgets. Money is in billionths of a dollar, days are
-- counted from 1970-01-01 in UTC, durations are microseconds.

ALTER TABLE runs ADD COLUMN cached_input_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN reasoning_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN cost_nanos INTEGER NOT NULL DEFAULT 0;

CREATE INDEX runs_waiting_for_budget ON runs (id) WHERE state = 'waiting' AND waiting = '"budget"';

-- Charges as they came. Kept until their run is archived, so that one that comes again is known.
CREATE TABLE usage_entries (
    run_id              BLOB    NOT NULL,
    id                  BLOB    NOT NULL,
    account             TEXT    NOT NULL,
    day                 INTEGER NOT NULL,
    model               TEXT    NOT NULL,
    provider            TEXT    NOT NULL,
    input_tokens        INTEGER NOT NULL,
    output_tokens       INTEGER NOT NULL,
    cached_input_tokens INTEGER NOT NULL,
    reasoning_tokens    INTEGER NOT NULL,
    cost_nanos          INTEGER NOT NULL,
    call_micros         INTEGER NOT NULL,
    at                  INTEGER NOT NULL,
    -- 1: it is in `usage_days` and `budgets`. 0: not yet. 2: within the transaction that folds it.
    folded              INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (run_id, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX usage_entries_to_fold ON usage_entries (account, at) WHERE folded <> 1;

-- The sums of all charges that are folded.
CREATE TABLE usage_days (
    account             TEXT    NOT NULL,
    day                 INTEGER NOT NULL,
    model               TEXT    NOT NULL,
    provider            TEXT    NOT NULL,
    calls               INTEGER NOT NULL,
    input_tokens        INTEGER NOT NULL,
    output_tokens       INTEGER NOT NULL,
    cached_input_tokens INTEGER NOT NULL,
    reasoning_tokens    INTEGER NOT NULL,
    cost_nanos          INTEGER NOT NULL,
    call_micros         INTEGER NOT NULL,
    PRIMARY KEY (account, day, model, provider)
) STRICT, WITHOUT ROWID;

CREATE INDEX usage_days_by_day ON usage_days (day);

-- The sums of all charges that are folded, and of all top-ups, since ever.
CREATE TABLE budgets (
    account               TEXT    NOT NULL PRIMARY KEY,
    cost_nanos            INTEGER NOT NULL DEFAULT 0,
    tokens                INTEGER NOT NULL DEFAULT 0,
    calls                 INTEGER NOT NULL DEFAULT 0,
    call_micros           INTEGER NOT NULL DEFAULT 0,
    topped_up_cost_nanos  INTEGER NOT NULL DEFAULT 0,
    topped_up_tokens      INTEGER NOT NULL DEFAULT 0,
    topped_up_calls       INTEGER NOT NULL DEFAULT 0,
    topped_up_call_micros INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE budget_top_ups (
    id          BLOB    NOT NULL PRIMARY KEY,
    account     TEXT    NOT NULL,
    day         INTEGER NOT NULL,
    cost_nanos  INTEGER NOT NULL,
    tokens      INTEGER NOT NULL,
    calls       INTEGER NOT NULL,
    call_micros INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX budget_top_ups_of_account ON budget_top_ups (account, day);

-- What calls under way may use. A hold counts while its run is `running` under its epoch, whatever else happens to the row.
CREATE TABLE budget_holds (
    id          BLOB    NOT NULL PRIMARY KEY,
    account     TEXT    NOT NULL,
    run_id      BLOB    NOT NULL,
    epoch       INTEGER NOT NULL,
    cost_nanos  INTEGER NOT NULL,
    tokens      INTEGER NOT NULL,
    calls       INTEGER NOT NULL,
    call_micros INTEGER NOT NULL,
    at          INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX budget_holds_of_account ON budget_holds (account);
