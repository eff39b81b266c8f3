//! Port `Fleet` on Postgres: instances, leases, the queue they share.
//!
//! Time is the database's (`clock_timestamp()`), everywhere. Admissions go through the store's lanes and are committed in groups like all
//! writes of runs; the rest are transactions of their own, on connections of their own, so that a lease is renewed however busy the
//! lanes and the readers are.

pub(super) mod admission;
pub(super) mod claims;
mod membership;
pub(super) mod notices;
mod overview;
mod positions;

use std::time::Duration;

use async_trait::async_trait;
use callboard_actors::error::RunError;
use callboard_actors::ids::{AccountId, InstanceId, RunId};
use callboard_actors::ports::fleet::{
    Admitted, Beat, ClaimNext, ClaimedRun, ExpiredRun, FleetAdmission, FleetOverview, Heartbeat, JoinError,
    NewInstance, Notice, ToldPosition,
};
use callboard_actors::ports::store::RunRecord;
use callboard_actors::ports::{Fleet, StoreError};
use callboard_actors::run_state::RunState;
use callboard_actors::time::Timestamp;
use futures::stream::BoxStream;

use super::pool::within_patience;
use super::rows::{self, IdBytes};
use super::write::{Answer, ExpireRun, Write};
use super::{PostgresStore, unexpected};

const ASK_TO_CANCEL: &str =
    "UPDATE runs SET cancel_requested = TRUE WHERE id = $1 AND state = 'running' RETURNING instance";
const STATE: &str = "SELECT state FROM runs WHERE id = $1";

const EXPIRED: &str = "SELECT id FROM runs WHERE state = 'queued' \
     AND queue_deadline <= (extract(epoch FROM clock_timestamp()) * 1000000)::bigint ORDER BY queue_deadline LIMIT $1";

#[async_trait]
impl Fleet for PostgresStore {
    async fn join(&self, instance: NewInstance) -> Result<Timestamp, JoinError> {
        let mut lent = self.control.lend().await?;
        let joined = membership::join(&mut lent, &instance);
        match within_patience(async { Ok(joined.await) }).await? {
            Ok(now) => Ok(lent.give_back(Ok(now))?),
            Err(error) => Err(error),
        }
    }

    async fn heartbeat(&self, heartbeat: Heartbeat) -> Result<Beat, StoreError> {
        let mut lent = self.control.lend().await?;
        let answer = within_patience(membership::heartbeat(&mut lent, &heartbeat)).await;
        lent.give_back(answer)
    }

    async fn leave(&self, instance: InstanceId) -> Result<(), StoreError> {
        let mut lent = self.control.lend().await?;
        let answer = within_patience(membership::leave(&mut lent, instance)).await;
        lent.give_back(answer)
    }

    async fn disown_unknown(
        &self,
        instance: InstanceId,
        known: Vec<RunId>,
        made_before: RunId,
    ) -> Result<u64, StoreError> {
        let mut lent = self.control.lend().await?;
        let answer = within_patience(membership::disown_unknown(&mut lent, instance, &known, made_before)).await;
        lent.give_back(answer)
    }

    async fn take_over(&self, instance: InstanceId, limit: u32) -> Result<Vec<RunRecord>, StoreError> {
        let mut lent = self.control.lend().await?;
        let answer = within_patience(membership::take_over(&mut lent, instance, limit)).await;
        lent.give_back(answer)
    }

    async fn admit(&self, admission: FleetAdmission) -> Result<Admitted, StoreError> {
        match self.submit(Write::Admit(Box::new(admission))).await? {
            Answer::Admitted(admitted) => Ok(admitted),
            _ => unexpected(),
        }
    }

    async fn claim_next(&self, claim: ClaimNext) -> Result<Vec<ClaimedRun>, StoreError> {
        let mut lent = self.control.lend().await?;
        let answer = within_patience(claims::claim_next(&mut lent, &self.activity, &claim)).await;
        lent.give_back(answer)
    }

    async fn ask_to_cancel(&self, run: RunId) -> Result<Option<RunState>, StoreError> {
        let pool = self.readers.pool();
        let ask = sqlx::query(ASK_TO_CANCEL).bind(run.id_bytes());
        if let Some(row) = pool.row(ask).await? {
            let owner = InstanceId::from_uuid(rows::uuid(&row, "instance")?);
            self.notices.cancel_asked(run, owner).await;
            return Ok(Some(RunState::Running));
        }
        let Some(row) = pool.row(sqlx::query(STATE).bind(run.id_bytes())).await? else {
            return Ok(None);
        };
        let state: &str = rows::get(&row, "state")?;
        RunState::parse(state).map(Some).ok_or_else(|| rows::damaged("state"))
    }

    async fn expire_queued(&self, error: RunError, limit: u32) -> Result<Vec<ExpiredRun>, StoreError> {
        let find = sqlx::query(EXPIRED).bind(i64::from(limit));
        let found = self.readers.pool().rows(find).await?;
        let mut writes = Vec::with_capacity(found.len());
        for row in &found {
            let expire = ExpireRun {
                run: rows::run_id(row)?,
                error: error.clone(),
            };
            writes.push(self.submit(Write::Expire(expire)));
        }
        let (mut expired, mut failure) = (Vec::new(), None);
        for outcome in futures::future::join_all(writes).await {
            match outcome {
                Ok(Answer::Expired(run)) => expired.extend(run.map(|run| *run)),
                Ok(_) => return unexpected(),
                Err(error) => failure = Some(error),
            }
        }
        // Those that failed have ended, and whoever asked must hear of them; the others are found again.
        match failure {
            Some(error) if expired.is_empty() => Err(error),
            _ => Ok(expired),
        }
    }

    async fn queue_position(&self, run: RunId) -> Result<Option<u64>, StoreError> {
        positions::queue_position(self.readers.pool(), run).await
    }

    async fn tell_positions(
        &self,
        account: &AccountId,
        interval: Duration,
        limit: u32,
    ) -> Result<Vec<ToldPosition>, StoreError> {
        let mut lent = self.readers.pool().lend().await?;
        let answer = within_patience(positions::tell_positions(
            &mut lent,
            &self.activity,
            account,
            interval,
            limit,
        ))
        .await;
        lent.give_back(answer)
    }

    async fn set_tier_limits(&self, limits: Vec<(String, Option<u32>)>) -> Result<(), StoreError> {
        let mut lent = self.control.lend().await?;
        let answer = within_patience(membership::set_tier_limits(&mut lent, limits)).await;
        lent.give_back(answer)?;
        // A limit that has grown lets something start.
        self.notices.claimable();
        Ok(())
    }

    async fn overview(&self) -> Result<FleetOverview, StoreError> {
        overview::overview(self.readers.pool()).await
    }

    fn notices(&self) -> BoxStream<'static, Notice> {
        self.notices.listen()
    }
}
