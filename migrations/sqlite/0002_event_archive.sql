-- The many small rows of a run's events are rewritten into few compressed ones after it has ended, and may be forgotten later.

-- How `frames` is encoded: 0 as sent, 1 compressed with zstd.
ALTER TABLE event_batches ADD COLUMN encoding INTEGER NOT NULL DEFAULT 0;

-- Where the run's events are: 0 in rows as they were committed, 1 archived, 2 forgotten.
ALTER TABLE runs ADD COLUMN history INTEGER NOT NULL DEFAULT 0;

-- What is to be archived and what is to be forgotten next.
CREATE INDEX runs_history ON runs (history, ended_at) WHERE ended_at IS NOT NULL AND history < 2;
