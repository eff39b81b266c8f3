-- What runs cost, what accounts have used, and what their model calls hold of their budgets. Money is in billionths of a dollar, days are
-- counted from 1970-01-01 in UTC, durations are microseconds.

ALTER TABLE runs ADD COLUMN cached_input_tokens BIGINT NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN reasoning_tokens BIGINT NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN cost_nanos BIGINT NOT NULL DEFAULT 0;

CREATE INDEX runs_waiting_for_budget ON runs (id) WHERE state = 'waiting' AND waiting = '"budget"';

-- Charges as they came. Kept until their run is archived, so that one that comes again is known.
CREATE TABLE usage_entries (
    run_id              BYTEA  NOT NULL,
    id                  BYTEA  NOT NULL,
    account             TEXT   NOT NULL,
    day                 BIGINT NOT NULL,
    model               TEXT   NOT NULL,
    provider            TEXT   NOT NULL,
    input_tokens        BIGINT NOT NULL,
    output_tokens       BIGINT NOT NULL,
    cached_input_tokens BIGINT NOT NULL,
    reasoning_tokens    BIGINT NOT NULL,
    cost_nanos          BIGINT NOT NULL,
    call_micros         BIGINT NOT NULL,
    at                  BIGINT NOT NULL,
    -- 1: it is in `usage_days` and `budgets`. 0: not yet. 2: within the transaction that folds it.
    folded              SMALLINT NOT NULL DEFAULT 0,
    PRIMARY KEY (run_id, id)
);

CREATE INDEX usage_entries_to_fold ON usage_entries (account, at) WHERE folded <> 1;

-- The sums of all charges that are folded.
CREATE TABLE usage_days (
    account             TEXT   NOT NULL,
    day                 BIGINT NOT NULL,
    model               TEXT   NOT NULL,
    provider            TEXT   NOT NULL,
    calls               BIGINT NOT NULL,
    input_tokens        BIGINT NOT NULL,
    output_tokens       BIGINT NOT NULL,
    cached_input_tokens BIGINT NOT NULL,
    reasoning_tokens    BIGINT NOT NULL,
    cost_nanos          BIGINT NOT NULL,
    call_micros         BIGINT NOT NULL,
    PRIMARY KEY (account, day, model, provider)
);

CREATE INDEX usage_days_by_day ON usage_days (day);

-- The sums of all charges that are folded, and of all top-ups, since ever. Whoever takes a hold or folds charges locks the account's row: what
-- is used and what is held does not change between the look and the hold. Commits of runs never touch it.
CREATE TABLE budgets (
    account               TEXT   NOT NULL PRIMARY KEY,
    cost_nanos            BIGINT NOT NULL DEFAULT 0,
    tokens                BIGINT NOT NULL DEFAULT 0,
    calls                 BIGINT NOT NULL DEFAULT 0,
    call_micros           BIGINT NOT NULL DEFAULT 0,
    topped_up_cost_nanos  BIGINT NOT NULL DEFAULT 0,
    topped_up_tokens      BIGINT NOT NULL DEFAULT 0,
    topped_up_calls       BIGINT NOT NULL DEFAULT 0,
    topped_up_call_micros BIGINT NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

CREATE TABLE budget_top_ups (
    id          BYTEA  NOT NULL PRIMARY KEY,
    account     TEXT   NOT NULL,
    day         BIGINT NOT NULL,
    cost_nanos  BIGINT NOT NULL,
    tokens      BIGINT NOT NULL,
    calls       BIGINT NOT NULL,
    call_micros BIGINT NOT NULL
);

CREATE INDEX budget_top_ups_of_account ON budget_top_ups (account, day);

-- What calls under way may use. A hold counts while its run is `running` under its epoch, whatever else happens to the row.
CREATE TABLE budget_holds (
    id          BYTEA  NOT NULL PRIMARY KEY,
    account     TEXT   NOT NULL,
    run_id      BYTEA  NOT NULL,
    epoch       BIGINT NOT NULL,
    cost_nanos  BIGINT NOT NULL,
    tokens      BIGINT NOT NULL,
    calls       BIGINT NOT NULL,
    call_micros BIGINT NOT NULL,
    at          BIGINT NOT NULL
);

CREATE INDEX budget_holds_of_account ON budget_holds (account);
