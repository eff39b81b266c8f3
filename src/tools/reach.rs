//! What tools reach the world with.

use std::sync::Arc;

use callboard_actors::ids::AccountId;
use callboard_actors::ports::ToolError;

use crate::blocking::BlockingPool;
use crate::outbound::Outbound;
use crate::secrets::Secrets;

/// Bytes from which on an answer is worked through on the blocking pool: fewer take less time than the way there.
const LARGE: usize = 64 * 1024;

/// What tools reach the world with. Cheap to clone.
#[derive(Clone)]
pub struct ToolReach {
    /// Requests to addresses that others choose.
    pub outbound: Outbound,
    /// What may go along with them.
    pub secrets: Arc<Secrets>,
    /// For work that takes a while.
    pub blocking_pool: BlockingPool,
}

impl ToolReach {
    /// Does work of this account on so many bytes, where it holds up nobody.
    pub(super) async fn work_through<T: Send + 'static>(
        &self,
        account: &AccountId,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ToolError> {
        if bytes < LARGE {
            return Ok(work());
        }
        let done = self.blocking_pool.for_account(account).run(work).await;
        done.map_err(|_| ToolError::new("the answer could not be worked through"))
    }
}
