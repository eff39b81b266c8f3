//! Commits that are made again because their first answer was lost.

use callboard_actors::encoding::EncodedEvents;
use callboard_actors::ids::RunId;
use callboard_actors::ports::{Store, StoreError};

/// What a commit is answered that was refused as `Fenced`: `Ok` if its events are there already, byte for byte, as the one batch that a
/// commit writes. Events hold the moment they were made at, so no two commits are alike.
pub(super) async fn answer_fenced(
    store: &impl Store,
    run: RunId,
    events: Option<EncodedEvents>,
) -> Result<(), StoreError> {
    let Some(events) = events else {
        return Err(StoreError::Fenced);
    };
    let before = events.first_seq().checked_sub(1);
    if let Some(before) = before {
        // A batch that begins before and ends after would be cut, and its end taken for a batch.
        let stored = store.events(run, before.checked_sub(1), 1).await?;
        if stored
            .first()
            .is_none_or(|batch| (batch.first_seq()..batch.last_seq()).contains(&before))
        {
            return Err(StoreError::Fenced);
        }
    }
    let stored = store.events(run, before, 1).await?;
    if stored.first() == Some(&events) {
        return Ok(());
    }
    Err(StoreError::Fenced)
}
