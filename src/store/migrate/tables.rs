//! Which tables and columns are moved: the one list of them. The statements made from it are in [`statements`](super::statements).

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Number,
    /// 0 or 1 in the source, a truth value in the target.
    Flag,
    Text,
    Bytes,
}

/// A column of the target, and what the source has for it.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// What stands for it in a `SELECT` of the source; the column of the same name if nothing else is said.
    pub(super) source: &'static str,
}

impl Column {
    const fn new(kind: Kind, name: &'static str) -> Self {
        Self {
            name,
            kind,
            source: name,
        }
    }

    /// A column that the source does not have as it is.
    const fn read_as(self, source: &'static str) -> Self {
        Self { source, ..self }
    }
}

const fn number(name: &'static str) -> Column {
    Column::new(Kind::Number, name)
}

const fn flag(name: &'static str) -> Column {
    Column::new(Kind::Flag, name)
}

const fn text(name: &'static str) -> Column {
    Column::new(Kind::Text, name)
}

const fn bytes(name: &'static str) -> Column {
    Column::new(Kind::Bytes, name)
}

/// Rows that both stores have: a table, or what stands for one.
#[derive(Debug)]
pub(super) struct Table {
    /// Its name: what people read, and the alias of both tables in every statement.
    pub(super) name: &'static str,
    /// What the source reads it from.
    pub(super) source: &'static str,
    /// What the target reads it from.
    pub(super) target: &'static str,
    pub(super) columns: &'static [Column],
    /// So many of the first columns name a row.
    pub(super) key: usize,
    /// What ids in the key begin with when people read them.
    pub(super) id_prefix: &'static str,
    /// Its rows are short.
    pub(super) is_narrow: bool,
}

/// SQLite gives only accounts with keys a row, and counts nothing: an account's Slots are its rows in `running`.
const ACCOUNTS_OF_SOURCE: &str = "\
(SELECT account, tier FROM accounts UNION ALL \
 SELECT owners.account, (SELECT tier FROM runs WHERE runs.account = owners.account ORDER BY runs.id DESC LIMIT 1) AS tier \
 FROM (WITH RECURSIVE owner (account) AS (\
         SELECT min(account) FROM runs UNION ALL \
         SELECT (SELECT min(runs.account) FROM runs WHERE runs.account > owner.account) FROM owner \
         WHERE owner.account IS NOT NULL) \
       SELECT account FROM owner WHERE account IS NOT NULL) AS owners \
 WHERE owners.account NOT IN (SELECT account FROM accounts))";

macro_rules! count_in_state {
    ($state:literal) => {
        concat!(
            "(SELECT count(*) FROM runs WHERE runs.account = accounts.account AND runs.state = '",
            $state,
            "')"
        )
    };
}

/// SQLite looks at the thread when a run is claimed; PostgreSQL keeps with each run whether it waits for another.
macro_rules! is_held {
    () => {
        "(runs.state = 'queued' AND runs.thread_id IS NOT NULL AND EXISTS (SELECT 1 FROM runs AS ahead \
          WHERE ahead.thread_id = runs.thread_id AND ahead.thread_position < runs.thread_position \
            AND ahead.state IN ('queued', 'running', 'waiting')))"
    };
}

macro_rules! count_queued {
    ($which:literal) => {
        concat!(
            "(SELECT count(*) FROM runs WHERE runs.account = accounts.account AND runs.state = 'queued' AND ",
            $which,
            is_held!(),
            ")"
        )
    };
}

/// Tables whose rows are copied, in this order: what refers to a row comes after it.
pub(super) const COPIED: &[Table] = &[
    Table {
        name: "accounts",
        source: ACCOUNTS_OF_SOURCE,
        target: "accounts",
        key: 1,
        id_prefix: "",
        is_narrow: true,
        columns: &[
            text("account"),
            text("tier"),
            number("running").read_as(count_in_state!("running")),
            number("queued").read_as(count_queued!("NOT ")),
            number("held").read_as(count_queued!("")),
            number("next_place").read_as(concat!(
                count_in_state!("running"),
                " + ",
                count_in_state!("queued"),
                " + ",
                count_in_state!("waiting")
            )),
        ],
    },
    Table {
        name: "api_keys",
        source: "api_keys",
        target: "api_keys",
        key: 1,
        id_prefix: "key_",
        is_narrow: true,
        columns: &[
            bytes("id"),
            text("account"),
            bytes("secret_hash"),
            text("last_four"),
            number("is_admin"),
            number("created_at"),
            number("revoked_at"),
        ],
    },
    Table {
        name: "threads",
        source: "threads",
        target: "threads",
        key: 1,
        id_prefix: "thr_",
        is_narrow: true,
        columns: &[
            bytes("id"),
            text("account"),
            text("metadata"),
            number("created_at"),
            number("next_position"),
            number("deleted_at"),
        ],
    },
    Table {
        name: "thread_items",
        source: "thread_items",
        target: "thread_items",
        key: 2,
        id_prefix: "thr_",
        is_narrow: false,
        columns: &[bytes("thread_id"), number("position"), text("content")],
    },
    Table {
        name: "runs",
        source: "runs",
        target: "runs",
        key: 1,
        id_prefix: "run_",
        is_narrow: true,
        columns: &[
            bytes("id"),
            text("account"),
            text("tier"),
            text("state"),
            number("epoch"),
            // Whoever had it is not in the fleet: the first instance takes it over.
            bytes("instance").read_as("CASE state WHEN 'running' THEN zeroblob(16) ELSE instance END"),
            number("next_seq"),
            number("reserved_seq"),
            number("next_item")
                .read_as("(SELECT COALESCE(max(items.position) + 1, 0) FROM items WHERE items.run_id = runs.id)"),
            number("steps"),
            number("input_tokens"),
            number("output_tokens"),
            number("cached_input_tokens"),
            number("cache_write_input_tokens"),
            number("reasoning_tokens"),
            number("cost_nanos"),
            text("error"),
            text("waiting"),
            text("calls"),
            number("calls_deadline"),
            number("created_at"),
            number("started_at"),
            number("ended_at"),
            number("queue_deadline"),
            text("idempotency_key"),
            bytes("request_hash"),
            number("history"),
            number("line").read_as("started_at IS NULL"),
            bytes("thread_id"),
            number("thread_position"),
            flag("hidden"),
            flag("held").read_as(is_held!()),
            flag("cancel_requested"),
        ],
    },
    Table {
        name: "run_specs",
        source: "run_specs",
        target: "run_specs",
        key: 1,
        id_prefix: "run_",
        is_narrow: false,
        columns: &[bytes("run_id"), text("spec")],
    },
    Table {
        name: "items",
        source: "items",
        target: "items",
        key: 2,
        id_prefix: "run_",
        is_narrow: false,
        columns: &[bytes("run_id"), number("position"), text("content")],
    },
    Table {
        name: "event_batches",
        source: "event_batches",
        target: "event_batches",
        key: 2,
        id_prefix: "run_",
        is_narrow: false,
        columns: &[
            bytes("run_id"),
            number("last_seq"),
            number("first_seq"),
            bytes("frames"),
            number("encoding"),
        ],
    },
    Table {
        name: "usage_entries",
        source: "usage_entries",
        target: "usage_entries",
        key: 2,
        id_prefix: "",
        is_narrow: true,
        columns: &[
            bytes("run_id"),
            bytes("id"),
            text("account"),
            number("day"),
            text("model"),
            text("provider"),
            number("input_tokens"),
            number("output_tokens"),
            number("cached_input_tokens"),
            number("cache_write_input_tokens"),
            number("reasoning_tokens"),
            number("cost_nanos"),
            number("call_micros"),
            number("at"),
            number("folded"),
        ],
    },
    Table {
        name: "usage_days",
        source: "usage_days",
        target: "usage_days",
        key: 4,
        id_prefix: "",
        is_narrow: true,
        columns: &[
            text("account"),
            number("day"),
            text("model"),
            text("provider"),
            number("calls"),
            number("input_tokens"),
            number("output_tokens"),
            number("cached_input_tokens"),
            number("cache_write_input_tokens"),
            number("reasoning_tokens"),
            number("cost_nanos"),
            number("call_micros"),
        ],
    },
    Table {
        name: "budgets",
        source: "budgets",
        target: "budgets",
        key: 1,
        id_prefix: "",
        is_narrow: true,
        columns: &[
            text("account"),
            number("cost_nanos"),
            number("tokens"),
            number("calls"),
            number("call_micros"),
            number("topped_up_cost_nanos"),
            number("topped_up_tokens"),
            number("topped_up_calls"),
            number("topped_up_call_micros"),
        ],
    },
    Table {
        name: "budget_top_ups",
        source: "budget_top_ups",
        target: "budget_top_ups",
        key: 1,
        id_prefix: "call_",
        is_narrow: true,
        columns: &[
            bytes("id"),
            text("account"),
            number("day"),
            number("cost_nanos"),
            number("tokens"),
            number("calls"),
            number("call_micros"),
        ],
    },
    Table {
        name: "budget_holds",
        source: "budget_holds",
        target: "budget_holds",
        key: 1,
        id_prefix: "call_",
        is_narrow: true,
        columns: &[
            bytes("id"),
            text("account"),
            bytes("run_id"),
            number("epoch"),
            number("cost_nanos"),
            number("tokens"),
            number("calls"),
            number("call_micros"),
            text("model"),
            text("provider"),
            number("likely_input_tokens"),
            number("likely_output_tokens"),
            number("likely_cost_nanos"),
            number("likely_call_micros"),
            number("at"),
        ],
    },
    Table {
        name: "agents",
        source: "agents",
        target: "agents",
        key: 1,
        id_prefix: "agt_",
        is_narrow: true,
        columns: &[
            bytes("id"),
            text("account"),
            text("name"),
            number("version"),
            number("created_at"),
        ],
    },
    Table {
        name: "agent_versions",
        source: "agent_versions",
        target: "agent_versions",
        key: 2,
        id_prefix: "agt_",
        is_narrow: false,
        columns: &[
            bytes("agent_id"),
            number("version"),
            text("name"),
            text("settings"),
            number("created_at"),
        ],
    },
    Table {
        name: "file_objects",
        source: "file_objects",
        target: "file_objects",
        key: 1,
        id_prefix: "object_",
        is_narrow: true,
        columns: &[
            bytes("id"),
            text("account"),
            text("state"),
            bytes("sha256"),
            number("bytes"),
            number("files"),
            number("created_at"),
        ],
    },
    Table {
        name: "files",
        source: "files",
        target: "files",
        key: 1,
        id_prefix: "file_",
        is_narrow: true,
        columns: &[
            bytes("id"),
            text("account"),
            bytes("object_id"),
            text("filename"),
            text("media_type"),
            text("purpose"),
            number("bytes"),
            bytes("sha256"),
            number("created_at"),
        ],
    },
    Table {
        name: "file_usage",
        source: "file_usage",
        target: "file_usage",
        key: 1,
        id_prefix: "",
        is_narrow: true,
        columns: &[text("account"), number("files"), number("bytes")],
    },
];

/// The runs that can still come to stand in their account's line, with these columns. One part for each state, because both databases
/// have an index of the runs in that state alone.
macro_rules! runs_without_end {
    ($columns:literal) => {
        concat!(
            "(SELECT ",
            $columns,
            " FROM runs WHERE state = 'queued' UNION ALL SELECT ",
            $columns,
            " FROM runs WHERE state = 'running' UNION ALL SELECT ",
            $columns,
            " FROM runs WHERE state = 'waiting')"
        )
    };
}

/// They stand in the order of their ids, in which SQLite lets them start.
macro_rules! places_by_id {
    () => {
        concat!(
            "(SELECT id, row_number() OVER (PARTITION BY account ORDER BY id) - 1 AS place FROM ",
            runs_without_end!("id, account"),
            " AS without_end)"
        )
    };
}

/// Compared, not copied: the target works it out when all runs are there ([`SET_PLACES`]).
pub(super) const PLACES: Table = Table {
    name: "places in line",
    source: places_by_id!(),
    target: runs_without_end!("id, place"),
    key: 1,
    id_prefix: "run_",
    is_narrow: false,
    columns: &[bytes("id"), number("place")],
};

/// For the target.
pub(super) const SET_PLACES: &str = concat!(
    "UPDATE runs SET place = ordered.place FROM ",
    places_by_id!(),
    " AS ordered WHERE runs.id = ordered.id AND runs.place <> ordered.place"
);
