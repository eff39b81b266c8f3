-- Input that a provider put into its cache, which has a price of its own at some. It is part of `input_tokens`.
ALTER TABLE runs ADD COLUMN cache_write_input_tokens BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_entries ADD COLUMN cache_write_input_tokens BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_days ADD COLUMN cache_write_input_tokens BIGINT NOT NULL DEFAULT 0;
