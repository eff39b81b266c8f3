//! Taking runs out of the queue: the accounts take turns, each account's runs come in their order, and nobody gets what another has.
//!
//! A claim locks accounts before it looks at their runs, so that the Slots it counts are exact and the first of a line is the first. It
//! passes over accounts that somebody else has locked at this moment. Only if that leaves Permits unused it waits for those: an
//! account that is busy all the time would else never be claimed from.
//!
//! Every statement is bounded by the number of runs that are claimed, not by the length of the queue: the accounts that could start
//! something are an index in the order of their turns, and so are the runs of a line.

use std::collections::BTreeMap;

use callboard_actors::ids::{AccountId, RunId};
use callboard_actors::ports::StoreError;
use callboard_actors::ports::fleet::{ClaimNext, ClaimedRun};
use callboard_actors::ports::store::{Claim, ClaimRun};
use sqlx::{Connection, PgConnection};

use crate::store::activity::Activity;
use crate::store::postgres::decide;
use crate::store::postgres::failure::store_error;
use crate::store::postgres::picture::{AccountCounts, Picture};
use crate::store::postgres::read_set::{UNREAD_SPEC, account_columns, account_counts, picture_columns, run_picture};
use crate::store::postgres::rows::{self, IdBytes};
use crate::store::postgres::write_set;

/// The accounts that could start something, those first whose turn is longest ago; without those that are locked.
pub(in crate::store::postgres) const LOCK_FREE_ACCOUNTS: &str = concat!(
    "SELECT ",
    account_columns!(),
    " FROM accounts WHERE queued > 0 AND (slot_limit IS NULL OR running < slot_limit) \
     ORDER BY turn LIMIT $1 FOR UPDATE SKIP LOCKED"
);

/// The same, locked or not; nothing is locked by this.
pub(in crate::store::postgres) const ACCOUNTS_IN_TURN: &str = "SELECT account FROM accounts WHERE queued > 0 AND (slot_limit IS NULL OR running < slot_limit) \
     ORDER BY turn LIMIT $1";

/// By name, as the lanes do, so that nobody waits in a circle.
const LOCK_ACCOUNTS: &str = concat!(
    "SELECT ",
    account_columns!(),
    " FROM accounts WHERE account = ANY($1) ORDER BY account FOR UPDATE"
);

/// So many of each account's runs, in the order of its line. Their account is locked, so nobody takes one meanwhile.
pub(in crate::store::postgres) const FIRST_IN_LINE: &str = "SELECT line.id \
     FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS wanted (account, runs, turn) \
     CROSS JOIN LATERAL (SELECT runs.id, runs.line, runs.place FROM runs \
                         WHERE runs.account = wanted.account AND runs.state = 'queued' AND NOT runs.held \
                           AND NOT (runs.cancel_requested AND runs.thread_id IS NOT NULL) \
                         ORDER BY runs.line, runs.place LIMIT wanted.runs) AS line \
     ORDER BY wanted.turn, line.line, line.place";

/// Their events may be written meanwhile (a position that is told), so each is locked; by id, like everywhere.
const LOCK_RUNS: &str = concat!(
    "SELECT ",
    picture_columns!("$1", "$2"),
    " FROM runs WHERE runs.id = ANY($1) ORDER BY runs.id FOR UPDATE OF runs"
);

const LEASE_AND_TIME: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now FROM instances \
                              WHERE id = $1 AND lease_until > clock_timestamp()";

/// As [`Fleet::claim_next`](callboard_actors::ports::Fleet::claim_next).
pub(super) async fn claim_next(
    connection: &mut PgConnection,
    activity: &Activity,
    request: &ClaimNext,
) -> Result<Vec<ClaimedRun>, StoreError> {
    let mut claimed = claim(connection, activity, request, Locked::PassOver).await?;
    let missing = (request.limit as usize).saturating_sub(claimed.len());
    if missing > 0 {
        let rest = ClaimNext {
            limit: u32::try_from(missing).unwrap_or(u32::MAX),
            ..*request
        };
        match claim(connection, activity, &rest, Locked::WaitFor).await {
            Ok(more) => claimed.extend(more),
            // What was claimed is claimed.
            Err(error) if claimed.is_empty() => return Err(error),
            Err(error) => tracing::warn!(%error, "busy accounts could not be claimed from"),
        }
    }
    Ok(claimed)
}

/// What to do about accounts that somebody else has locked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Locked {
    PassOver,
    WaitFor,
}

async fn claim(
    connection: &mut PgConnection,
    activity: &Activity,
    request: &ClaimNext,
    locked: Locked,
) -> Result<Vec<ClaimedRun>, StoreError> {
    let mut transaction = connection.begin().await.map_err(store_error)?;
    let Some(now) = lease_and_time(&mut transaction, request).await? else {
        return Err(StoreError::Unavailable("the lease of this instance is over".into()));
    };
    let accounts = lock_accounts(&mut transaction, request.limit, locked).await?;
    activity.count_statements(2);
    let shares = shares(&accounts, request.limit);
    if shares.is_empty() {
        transaction.rollback().await.map_err(store_error)?;
        return Ok(Vec::new());
    }
    let mut picture = Picture {
        accounts: accounts.into_iter().collect(),
        ..Picture::default()
    };
    let in_turn = first_in_line(&mut transaction, &shares, &mut picture).await?;
    activity.count_statements(2);
    let mut claimed = Vec::with_capacity(in_turn.len());
    for run in in_turn {
        claimed.extend(take(run, request, &mut picture)?);
    }
    for share in &shares {
        picture.account(&share.account)?.turn = now + share.last_turn;
    }
    write_set::write(&picture, &mut transaction, activity).await?;
    transaction.commit().await.map_err(store_error)?;
    activity.count_commit();
    Ok(claimed)
}

async fn lease_and_time(connection: &mut PgConnection, request: &ClaimNext) -> Result<Option<i64>, StoreError> {
    sqlx::query_scalar(LEASE_AND_TIME)
        .bind(request.instance.id_bytes())
        .fetch_optional(connection)
        .await
        .map_err(store_error)
}

/// In the order of their turns.
async fn lock_accounts(
    connection: &mut PgConnection,
    limit: u32,
    locked: Locked,
) -> Result<Vec<(AccountId, AccountCounts)>, StoreError> {
    let found = match locked {
        Locked::PassOver => {
            let lock = sqlx::query(LOCK_FREE_ACCOUNTS).bind(i64::from(limit));
            lock.fetch_all(connection).await.map_err(store_error)?
        }
        Locked::WaitFor => {
            let look = sqlx::query_scalar(ACCOUNTS_IN_TURN).bind(i64::from(limit));
            let names: Vec<String> = look.fetch_all(&mut *connection).await.map_err(store_error)?;
            if names.is_empty() {
                return Ok(Vec::new());
            }
            let lock = sqlx::query(LOCK_ACCOUNTS).bind(names);
            lock.fetch_all(connection).await.map_err(store_error)?
        }
    };
    let mut accounts = Vec::with_capacity(found.len());
    for row in &found {
        accounts.push((rows::account(row)?, account_counts(row)?));
    }
    // While it was waited for, an account may have changed.
    accounts.retain(|(_, counts)| counts.is_claimable());
    accounts.sort_by_key(|(_, counts)| counts.turn);
    Ok(accounts)
}

/// What an account gets of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Share {
    account: AccountId,
    runs: i64,
    /// When in the claim its last turn was.
    last_turn: i64,
}

/// How many runs each account may start: one each in the order of their turns, then again, until the limit is reached.
fn shares(accounts: &[(AccountId, AccountCounts)], limit: u32) -> Vec<Share> {
    let able = |counts: &AccountCounts| {
        let free = counts
            .slot_limit
            .map_or(i64::MAX, |limit| i64::from(limit.saturating_sub(counts.running)));
        counts.queued.min(free)
    };
    let mut shares: Vec<Share> = accounts
        .iter()
        .map(|(account, _)| Share {
            account: account.clone(),
            runs: 0,
            last_turn: 0,
        })
        .collect();
    let mut turn = 0;
    while turn < i64::from(limit) {
        let before = turn;
        for (share, (_, counts)) in shares.iter_mut().zip(accounts) {
            if share.runs < able(counts) && turn < i64::from(limit) {
                share.runs += 1;
                share.last_turn = turn;
                turn += 1;
            }
        }
        if turn == before {
            break;
        }
    }
    shares.retain(|share| share.runs > 0);
    shares
}

/// Locks the first runs of these accounts and names them, turn by turn.
async fn first_in_line(
    connection: &mut PgConnection,
    shares: &[Share],
    picture: &mut Picture,
) -> Result<Vec<RunId>, StoreError> {
    let accounts: Vec<&str> = shares.iter().map(|share| share.account.as_str()).collect();
    let wanted: Vec<i64> = shares.iter().map(|share| share.runs).collect();
    let find = sqlx::query(FIRST_IN_LINE).bind(accounts).bind(wanted);
    let found = find.fetch_all(&mut *connection).await.map_err(store_error)?;
    let in_turn = found.iter().map(rows::run_id).collect::<Result<Vec<_>, _>>()?;
    let ids: Vec<Vec<u8>> = in_turn.iter().map(IdBytes::id_bytes).collect();
    let lock = sqlx::query(LOCK_RUNS).bind(ids).bind(UNREAD_SPEC);
    let locked = lock.fetch_all(&mut *connection).await.map_err(store_error)?;
    picture.runs = locked.iter().map(run_picture).collect::<Result<BTreeMap<_, _>, _>>()?;
    Ok(in_turn)
}

/// `None`: it left the line before its account was locked.
fn take(run: RunId, request: &ClaimNext, picture: &mut Picture) -> Result<Option<ClaimedRun>, StoreError> {
    let Some(account) = picture.runs.get(&run).map(|row| row.record.account.clone()) else {
        return Ok(None);
    };
    let claim = ClaimRun {
        run,
        instance: request.instance,
        slot_limit: picture.account(&account)?.slot_limit,
        reserve_seqs: request.reserve_seqs,
        at: request.at,
    };
    let Claim::Claimed { record, events } = decide::claim(&claim, picture)? else {
        return Ok(None);
    };
    Ok(Some(ClaimedRun {
        record: *record,
        events,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str, running: u32, queued: i64, slot_limit: Option<u32>) -> (AccountId, AccountCounts) {
        let counts = AccountCounts {
            running,
            queued,
            slot_limit,
            ..AccountCounts::default()
        };
        (name.parse().expect("an account"), counts)
    }

    fn shared(accounts: &[(AccountId, AccountCounts)], limit: u32) -> Vec<(String, i64)> {
        let shares = shares(accounts, limit);
        shares
            .into_iter()
            .map(|share| (share.account.to_string(), share.runs))
            .collect()
    }

    #[test]
    fn accounts_take_turns_until_the_permits_are_gone() {
        let accounts = [
            account("one", 0, 100, None),
            account("two", 1, 9, Some(3)),
            account("three", 0, 1, Some(5)),
        ];
        let expect = |expected: &[(&str, i64)], limit| {
            let expected: Vec<_> = expected
                .iter()
                .map(|(name, share)| ((*name).to_owned(), *share))
                .collect();
            assert_eq!(shared(&accounts, limit), expected);
        };
        expect(&[("one", 1), ("two", 1)], 2);
        expect(&[("one", 2), ("two", 2), ("three", 1)], 5);
        expect(&[("one", 5), ("two", 2), ("three", 1)], 8);
        assert_eq!(shared(&[], 8), []);
    }
}
