//! The statements of the port [`Budgets`](callboard_actors::ports::Budgets), the same for every database but for how a sum stops at what can
//! be counted: an adapter gives the names of two macros of its own. `$capped_sum!("value")` sums a column over rows, nothing if there are
//! none; `$capped!("sum")` is a sum of two numbers. Neither goes beyond [`MOST`](super::budgets::MOST). [`bound_statements`] makes all of
//! them in the types of a database.
//!
//! A charge is an entry until it is folded: added to the sums of its day and of its account. Whoever asks adds both, in one statement, so
//! that no charge is seen twice or not at all.

/// The sums of an amount over the rows of `$rows`.
macro_rules! summed_amounts {
    ($capped_sum:ident, $rows:expr) => {
        concat!(
            "(SELECT ",
            $capped_sum!("cost_nanos"),
            " AS cost_nanos, ",
            $capped_sum!("tokens"),
            " AS tokens, ",
            $capped_sum!("calls"),
            " AS calls, ",
            $capped_sum!("call_micros"),
            " AS call_micros FROM (",
            $rows,
            ") AS each)"
        )
    };
}
pub(super) use summed_amounts;

macro_rules! standing {
    ($capped_sum:ident, $used:expr, $topped_up:expr) => {
        concat!(
            "SELECT used.cost_nanos AS used_cost_nanos, used.tokens AS used_tokens, used.calls AS used_calls, \
                    used.call_micros AS used_call_micros, \
                    held.cost_nanos AS held_cost_nanos, held.tokens AS held_tokens, held.calls AS held_calls, \
                    held.call_micros AS held_call_micros, \
                    topped_up.cost_nanos AS topped_up_cost_nanos, topped_up.tokens AS topped_up_tokens, \
                    topped_up.calls AS topped_up_calls, topped_up.call_micros AS topped_up_call_micros, \
                    (SELECT count(*) FROM usage_entries WHERE account = $1 AND folded <> 1) AS to_fold FROM ",
            crate::store::budget_statements::summed_amounts!($capped_sum, $used),
            " AS used CROSS JOIN ",
            crate::store::budget_statements::summed_amounts!(
                $capped_sum,
                "SELECT budget_holds.cost_nanos, budget_holds.tokens, budget_holds.calls, budget_holds.call_micros \
                 FROM budget_holds JOIN runs \
                   ON runs.id = budget_holds.run_id AND runs.state = 'running' AND runs.epoch = budget_holds.epoch \
                 WHERE budget_holds.account = $1 AND budget_holds.id <> $2"
            ),
            " AS held CROSS JOIN ",
            crate::store::budget_statements::summed_amounts!($capped_sum, $topped_up),
            " AS topped_up"
        )
    };
}
pub(super) use standing;

/// How an account (`$1`) stands in the days from `$3` to `$4`, without the hold `$2`.
macro_rules! standing_in_days {
    ($capped_sum:ident) => {
        crate::store::budget_statements::standing!(
            $capped_sum,
            "SELECT cost_nanos, input_tokens + output_tokens AS tokens, calls, call_micros FROM usage_days \
             WHERE account = $1 AND day BETWEEN $3 AND $4 \
             UNION ALL SELECT cost_nanos, input_tokens + output_tokens, 1, call_micros FROM usage_entries \
             WHERE account = $1 AND folded <> 1 AND day BETWEEN $3 AND $4",
            "SELECT cost_nanos, tokens, calls, call_micros FROM budget_top_ups \
             WHERE account = $1 AND day BETWEEN $3 AND $4"
        )
    };
}
pub(super) use standing_in_days;

/// The same since ever.
macro_rules! standing_since_ever {
    ($capped_sum:ident) => {
        crate::store::budget_statements::standing!(
            $capped_sum,
            "SELECT cost_nanos, tokens, calls, call_micros FROM budgets WHERE account = $1 \
             UNION ALL SELECT cost_nanos, input_tokens + output_tokens, 1, call_micros FROM usage_entries \
             WHERE account = $1 AND folded <> 1",
            "SELECT topped_up_cost_nanos AS cost_nanos, topped_up_tokens AS tokens, topped_up_calls AS calls, \
                    topped_up_call_micros AS call_micros FROM budgets WHERE account = $1"
        )
    };
}
pub(super) use standing_since_ever;

/// Not if its run does not run under this epoch, and not twice. `$lock` keeps the run so until the hold is there for whoever ends its epoch.
macro_rules! take_hold {
    ($lock:literal) => {
        concat!(
            "INSERT INTO budget_holds (id, account, run_id, epoch, cost_nanos, tokens, calls, call_micros, \
                                       model, provider, likely_input_tokens, likely_output_tokens, likely_cost_nanos, \
                                       likely_call_micros, at) \
             SELECT $1, $2, runs.id, runs.epoch, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15 \
             FROM runs WHERE runs.id = $3 AND runs.state = 'running' AND runs.epoch = $4",
            $lock,
            " ON CONFLICT (id) DO NOTHING"
        )
    };
}
pub(super) use take_hold;

/// Of the runs `$of`, whose epoch ends: charges by estimate what they hold. [`end_holds`] comes after it, and the new epoch after that.
macro_rules! charge_holds {
    ($of:literal) => {
        concat!(
            "INSERT INTO usage_entries (run_id, id, account, day, model, provider, input_tokens, output_tokens, cached_input_tokens, \
                                        reasoning_tokens, cost_nanos, call_micros, at) \
             SELECT budget_holds.run_id, budget_holds.id, budget_holds.account, budget_holds.at / 86400000000, budget_holds.model, \
                    budget_holds.provider, budget_holds.likely_input_tokens, budget_holds.likely_output_tokens, 0, 0, \
                    budget_holds.likely_cost_nanos, budget_holds.likely_call_micros, budget_holds.at \
             FROM budget_holds JOIN runs \
               ON runs.id = budget_holds.run_id AND runs.state = 'running' AND runs.epoch = budget_holds.epoch \
             WHERE ",
            $of,
            " ON CONFLICT DO NOTHING"
        )
    };
}
pub(super) use charge_holds;

macro_rules! end_holds {
    ($of:literal) => {
        concat!(
            "DELETE FROM budget_holds WHERE run_id IN (SELECT runs.id FROM runs WHERE runs.state = 'running' AND ",
            $of,
            ")"
        )
    };
}
pub(super) use end_holds;

pub(super) const IS_HELD: &str = "SELECT count(*) AS holds FROM budget_holds WHERE id = $1";

pub(super) const RELEASE: &str = "DELETE FROM budget_holds WHERE id = $1";

pub(super) const ADD_TOP_UP: &str = "\
    INSERT INTO budget_top_ups (id, account, day, cost_nanos, tokens, calls, call_micros) \
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO NOTHING";

/// Holds that do not count any more.
macro_rules! select_dead_holds {
    () => {
        "SELECT budget_holds.id FROM budget_holds WHERE NOT EXISTS \
         (SELECT 1 FROM runs WHERE runs.id = budget_holds.run_id AND runs.state = 'running' AND runs.epoch = budget_holds.epoch)"
    };
}
pub(super) use select_dead_holds;

/// Adds a top-up to what the account (`$1`) was given since ever.
macro_rules! count_top_up {
    ($capped:ident) => {
        concat!(
            "INSERT INTO budgets (account, topped_up_cost_nanos, topped_up_tokens, topped_up_calls, topped_up_call_micros) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (account) DO UPDATE SET topped_up_cost_nanos = ",
            $capped!("budgets.topped_up_cost_nanos + excluded.topped_up_cost_nanos"),
            ", topped_up_tokens = ",
            $capped!("budgets.topped_up_tokens + excluded.topped_up_tokens"),
            ", topped_up_calls = ",
            $capped!("budgets.topped_up_calls + excluded.topped_up_calls"),
            ", topped_up_call_micros = ",
            $capped!("budgets.topped_up_call_micros + excluded.topped_up_call_micros")
        )
    };
}
pub(super) use count_top_up;

/// Whose charges are to be folded, of at most `$2` that were made before `$1`.
pub(super) const TO_FOLD: &str = "\
    SELECT account, count(*) AS entries FROM \
    (SELECT account FROM usage_entries WHERE folded <> 1 AND at < $1 ORDER BY at LIMIT $2) AS each \
    GROUP BY account ORDER BY account";

/// What is folded by the statements after this one: at most `$3` charges of account `$1`, made before `$2`.
pub(super) const BEGIN_FOLDING: &str = "\
    UPDATE usage_entries SET folded = 2 WHERE (run_id, id) IN \
    (SELECT run_id, id FROM usage_entries WHERE account = $1 AND folded <> 1 AND at < $2 ORDER BY at LIMIT $3)";

macro_rules! fold_into_days {
    ($capped_sum:ident, $capped:ident) => {
        concat!(
            "INSERT INTO usage_days (account, day, model, provider, calls, input_tokens, output_tokens, cached_input_tokens, \
                                     cache_write_input_tokens, reasoning_tokens, cost_nanos, call_micros) \
             SELECT account, day, model, provider, count(*), ",
            $capped_sum!("input_tokens"),
            ", ",
            $capped_sum!("output_tokens"),
            ", ",
            $capped_sum!("cached_input_tokens"),
            ", ",
            $capped_sum!("cache_write_input_tokens"),
            ", ",
            $capped_sum!("reasoning_tokens"),
            ", ",
            $capped_sum!("cost_nanos"),
            ", ",
            $capped_sum!("call_micros"),
            " FROM usage_entries WHERE account = $1 AND folded <> 1 AND folded = 2 GROUP BY account, day, model, provider \
             ON CONFLICT (account, day, model, provider) DO UPDATE SET calls = usage_days.calls + excluded.calls, input_tokens = ",
            $capped!("usage_days.input_tokens + excluded.input_tokens"),
            ", output_tokens = ",
            $capped!("usage_days.output_tokens + excluded.output_tokens"),
            ", cached_input_tokens = ",
            $capped!("usage_days.cached_input_tokens + excluded.cached_input_tokens"),
            ", cache_write_input_tokens = ",
            $capped!("usage_days.cache_write_input_tokens + excluded.cache_write_input_tokens"),
            ", reasoning_tokens = ",
            $capped!("usage_days.reasoning_tokens + excluded.reasoning_tokens"),
            ", cost_nanos = ",
            $capped!("usage_days.cost_nanos + excluded.cost_nanos"),
            ", call_micros = ",
            $capped!("usage_days.call_micros + excluded.call_micros")
        )
    };
}
pub(super) use fold_into_days;

macro_rules! fold_into_budget {
    ($capped_sum:ident, $capped:ident) => {
        concat!(
            "INSERT INTO budgets (account, cost_nanos, tokens, calls, call_micros) SELECT account, ",
            $capped_sum!("cost_nanos"),
            ", ",
            $capped_sum!("input_tokens + output_tokens"),
            ", count(*), ",
            $capped_sum!("call_micros"),
            " FROM usage_entries WHERE account = $1 AND folded <> 1 AND folded = 2 GROUP BY account \
             ON CONFLICT (account) DO UPDATE SET cost_nanos = ",
            $capped!("budgets.cost_nanos + excluded.cost_nanos"),
            ", tokens = ",
            $capped!("budgets.tokens + excluded.tokens"),
            ", calls = budgets.calls + excluded.calls, call_micros = ",
            $capped!("budgets.call_micros + excluded.call_micros")
        )
    };
}
pub(super) use fold_into_budget;

/// No commit of an archived run can bring its charges again.
pub(super) const FORGET_ARCHIVED: &str = "\
    DELETE FROM usage_entries WHERE account = $1 AND folded <> 1 AND folded = 2 \
    AND EXISTS (SELECT 1 FROM runs WHERE runs.id = usage_entries.run_id AND runs.history > 0)";

pub(super) const END_FOLDING: &str =
    "UPDATE usage_entries SET folded = 1 WHERE account = $1 AND folded <> 1 AND folded = 2";

/// What was used in the days from `$1` to `$2`.
macro_rules! usage {
    ($capped_sum:ident, $of_account:literal) => {
        concat!(
            "SELECT day, account, model, provider, ",
            $capped_sum!("calls"),
            " AS calls, ",
            $capped_sum!("input_tokens"),
            " AS input_tokens, ",
            $capped_sum!("output_tokens"),
            " AS output_tokens, ",
            $capped_sum!("cached_input_tokens"),
            " AS cached_input_tokens, ",
            $capped_sum!("cache_write_input_tokens"),
            " AS cache_write_input_tokens, ",
            $capped_sum!("reasoning_tokens"),
            " AS reasoning_tokens, ",
            $capped_sum!("cost_nanos"),
            " AS cost_nanos, ",
            $capped_sum!("call_micros"),
            " AS call_micros FROM (\
             SELECT day, account, model, provider, calls, input_tokens, output_tokens, cached_input_tokens, \
                    cache_write_input_tokens, reasoning_tokens, cost_nanos, call_micros FROM usage_days WHERE day BETWEEN $1 AND $2",
            $of_account,
            " UNION ALL \
             SELECT day, account, model, provider, 1, input_tokens, output_tokens, cached_input_tokens, \
                    cache_write_input_tokens, reasoning_tokens, cost_nanos, call_micros FROM usage_entries WHERE folded <> 1 AND day BETWEEN $1 AND $2",
            $of_account,
            ") AS each GROUP BY day, account, model, provider"
        )
    };
}
pub(super) use usage;

/// The statements with what is bound to them. Needs `Statement`, the database's type of one, and its `IdBytes` in scope.
/// `$lock` as for [`take_hold`].
macro_rules! bound_statements {
    ($capped_sum:ident, $capped:ident, $lock:literal) => {
        const TAKE_HOLD: &str = crate::store::budget_statements::take_hold!($lock);
        pub(super) const STANDING_IN_DAYS: &str = crate::store::budget_statements::standing_in_days!($capped_sum);
        pub(super) const STANDING_SINCE_EVER: &str = crate::store::budget_statements::standing_since_ever!($capped_sum);
        const COUNT_TOP_UP: &str = crate::store::budget_statements::count_top_up!($capped);
        const FOLD_INTO_DAYS: &str = crate::store::budget_statements::fold_into_days!($capped_sum, $capped);
        const FOLD_INTO_BUDGET: &str = crate::store::budget_statements::fold_into_budget!($capped_sum, $capped);
        const USAGE: &str = crate::store::budget_statements::usage!($capped_sum, "");
        const USAGE_OF_ACCOUNT: &str = crate::store::budget_statements::usage!($capped_sum, " AND account = $3");

        /// What folds the charges that [`begin_folding`] has marked, in this order, each of one account.
        const FOLD: [&str; 4] = [
            FOLD_INTO_DAYS,
            FOLD_INTO_BUDGET,
            crate::store::budget_statements::FORGET_ARCHIVED,
            crate::store::budget_statements::END_FOLDING,
        ];

        /// How the account stands, without this hold.
        fn standing(account: &AccountId, but_for: ModelCallId, period: BudgetPeriod, at: Timestamp) -> Statement<'_> {
            let days = crate::store::budgets::days_of(period, at);
            let text = days.map_or(STANDING_SINCE_EVER, |_| STANDING_IN_DAYS);
            let statement = sqlx::query(text).bind(account.as_str()).bind(but_for.id_bytes());
            match days {
                None => statement,
                Some((first, last)) => statement.bind(first).bind(last),
            }
        }

        fn take_hold(hold: &NewHold) -> Statement<'_> {
            let mut take = sqlx::query(TAKE_HOLD)
                .bind(hold.id.id_bytes())
                .bind(hold.account.as_str())
                .bind(hold.run.id_bytes())
                .bind(crate::store::rows::signed(hold.epoch));
            for value in crate::store::budgets::amount_values(&hold.amount) {
                take = take.bind(value);
            }
            take = take.bind(&hold.estimate.model).bind(&hold.estimate.provider);
            for value in crate::store::budgets::estimate_values(&hold.estimate) {
                take = take.bind(value);
            }
            take.bind(hold.at.as_micros())
        }

        /// The top-up, and what adds it to the account's; the second only if the first did something.
        fn add_top_up(top_up: &TopUp) -> [Statement<'_>; 2] {
            let day = crate::store::budgets::day_number(top_up.at.utc_day());
            let mut add = sqlx::query(crate::store::budget_statements::ADD_TOP_UP)
                .bind(top_up.id.id_bytes())
                .bind(top_up.account.as_str())
                .bind(day);
            let mut count = sqlx::query(COUNT_TOP_UP).bind(top_up.account.as_str());
            for value in crate::store::budgets::amount_values(&top_up.amount) {
                add = add.bind(value);
                count = count.bind(value);
            }
            [add, count]
        }

        fn begin_folding(account: &AccountId, before: i64, limit: u32) -> Statement<'_> {
            sqlx::query(crate::store::budget_statements::BEGIN_FOLDING)
                .bind(account.as_str())
                .bind(before)
                .bind(i64::from(limit))
        }

        fn to_fold(before: Timestamp, limit: u32) -> Statement<'static> {
            sqlx::query(crate::store::budget_statements::TO_FOLD)
                .bind(before.as_micros())
                .bind(i64::from(limit))
        }

        fn used(query: &UsageQuery) -> Statement<'_> {
            let from = crate::store::budgets::day_number(query.from);
            let to = crate::store::budgets::day_number(query.to);
            match &query.account {
                None => sqlx::query(USAGE).bind(from).bind(to),
                Some(account) => sqlx::query(USAGE_OF_ACCOUNT)
                    .bind(from)
                    .bind(to)
                    .bind(account.as_str()),
            }
        }
    };
}
pub(super) use bound_statements;
