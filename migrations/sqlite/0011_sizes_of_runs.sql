-- Bytes of a run's items, so that a thread is measured without reading what was said in it. Of runs that are in no thread and were there before,
-- nobody asks.
ALTER TABLE runs ADD COLUMN item_bytes INTEGER NOT NULL DEFAULT 0;
UPDATE runs SET item_bytes = (SELECT COALESCE(sum(octet_length(content)), 0) FROM items WHERE run_id = runs.id) WHERE thread_id IS NOT NULL;
