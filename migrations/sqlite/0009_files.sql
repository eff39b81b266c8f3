-- Which files accounts have, and which objects in the storage hold what is in them. The bytes are not here.

-- `writing`: it is being written, or that broke off. `kept`: `files` refer to it. `garbage`: to be removed from the storage, then from here.
CREATE TABLE file_objects (
    id         BLOB    NOT NULL PRIMARY KEY,
    account    TEXT    NOT NULL,
    state      TEXT    NOT NULL,
    sha256     BLOB,
    bytes      INTEGER NOT NULL,
    -- How many files refer to it.
    files      INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX file_objects_by_content ON file_objects (account, sha256) WHERE state = 'kept';
CREATE INDEX file_objects_not_kept ON file_objects (state, created_at) WHERE state <> 'kept';

CREATE TABLE files (
    id         BLOB    NOT NULL PRIMARY KEY,
    account    TEXT    NOT NULL,
    object_id  BLOB    NOT NULL,
    filename   TEXT    NOT NULL,
    media_type TEXT    NOT NULL,
    purpose    TEXT,
    bytes      INTEGER NOT NULL,
    sha256     BLOB    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX files_of_account ON files (account, id);

-- What each account has: files, and bytes of their contents, each content once. Whoever changes it locks the row.
CREATE TABLE file_usage (
    account TEXT    NOT NULL PRIMARY KEY,
    files   INTEGER NOT NULL,
    bytes   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
