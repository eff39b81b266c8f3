-- Which files accounts have, and which objects in the storage hold what is in them. The bytes are not here.

-- `writing`: it is being written, or that broke off. `kept`: `files` refer to it. `garbage`: to be removed from the storage, then from here.
CREATE TABLE file_objects (
    id         BYTEA  NOT NULL PRIMARY KEY,
    account    TEXT   NOT NULL,
    state      TEXT   NOT NULL,
    sha256     BYTEA,
    bytes      BIGINT NOT NULL,
    -- How many files refer to it.
    files      BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE UNIQUE INDEX file_objects_by_content ON file_objects (account, sha256) WHERE state = 'kept';
CREATE INDEX file_objects_not_kept ON file_objects (state, created_at) WHERE state <> 'kept';

CREATE TABLE files (
    id         BYTEA  NOT NULL PRIMARY KEY,
    account    TEXT   NOT NULL,
    object_id  BYTEA  NOT NULL,
    filename   TEXT   NOT NULL,
    media_type TEXT   NOT NULL,
    purpose    TEXT,
    bytes      BIGINT NOT NULL,
    sha256     BYTEA  NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE INDEX files_of_account ON files (account, id);

-- What each account has: files, and bytes of their contents, each content once. Whoever changes it locks the row.
CREATE TABLE file_usage (
    account TEXT   NOT NULL PRIMARY KEY,
    files   BIGINT NOT NULL,
    bytes   BIGINT NOT NULL
);
