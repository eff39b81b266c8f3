//! How many uploads there are at once, or downloads: of all accounts, and of one.

use std::sync::Arc;

use callboard_actors::ids::AccountId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::places::Places;

/// How many transfers of a kind there may be at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransferLimits {
    /// In all.
    pub most: usize,
    /// Of one account.
    pub most_per_account: usize,
}

/// There are as many transfers of this kind as may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooManyTransfers {
    /// In all.
    #[error("too many transfers at once: {limit} may be")]
    OfAll {
        /// How many may be.
        limit: usize,
    },
    /// Of the account.
    #[error("too many transfers of the account at once: {limit} may be")]
    OfAccount {
        /// How many may be.
        limit: usize,
    },
}

/// The transfers of a kind.
pub(super) struct Transfers {
    limits: TransferLimits,
    pub(super) all: Arc<Semaphore>,
    of_accounts: Places,
}

/// One of them. Dropping it makes room for another.
#[derive(Debug)]
pub struct Transfer {
    _of_account: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Transfers {
    pub(super) fn new(limits: TransferLimits) -> Self {
        Self {
            limits,
            all: Arc::new(Semaphore::new(limits.most)),
            of_accounts: Places::default(),
        }
    }

    pub(super) fn begin(&self, account: &AccountId) -> Result<Transfer, TooManyTransfers> {
        let TransferLimits { most, most_per_account } = self.limits;
        let of_account = self.of_accounts.of(account.as_str(), most_per_account);
        let of_account = of_account
            .try_acquire_owned()
            .map_err(|_| TooManyTransfers::OfAccount {
                limit: most_per_account,
            })?;
        let of_all = self.all.clone().try_acquire_owned();
        Ok(Transfer {
            _of_account: of_account,
            _of_all: of_all.map_err(|_| TooManyTransfers::OfAll { limit: most })?,
        })
    }
}
