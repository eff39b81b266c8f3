-- Tool calls of a run that are begun, or wait for somebody: the ledger as JSON, and when the next of them is given up. Empty most of the time.
ALTER TABLE runs ADD COLUMN calls TEXT;
ALTER TABLE runs ADD COLUMN calls_deadline INTEGER;

CREATE INDEX runs_with_calls_due ON runs (calls_deadline) WHERE state = 'waiting' AND calls_deadline IS NOT NULL;
