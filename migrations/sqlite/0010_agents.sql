-- Settings of runs under a name, in versions.

CREATE TABLE agents (
    id         BLOB    NOT NULL PRIMARY KEY,
    account    TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    -- The newest.
    version    INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX agents_by_name ON agents (account, name);
CREATE INDEX agents_of_account ON agents (account, id);

-- What a version says never changes. `settings` is JSON.
CREATE TABLE agent_versions (
    agent_id   BLOB    NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    version    INTEGER NOT NULL,
    name       TEXT    NOT NULL,
    settings   TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (agent_id, version)
) STRICT;
