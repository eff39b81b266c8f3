-- Keys of the operator: they see the whole installation, not only their account. 0 or 1.
ALTER TABLE api_keys ADD COLUMN is_admin SMALLINT NOT NULL DEFAULT 0;
