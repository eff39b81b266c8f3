//! Commits that are made again because their first answer was lost.

use callboard_actors::encoding::EncodedEvents;
use callboard_actors::ids::RunId;
use callboard_actors::ports::{Store, StoreError};

/// What a commit is answered that was refused as `Fenced`: `Ok` if its events are there already, byte for byte. Events hold the
/// moment they were made at, so no two commits are alike.
pub(super) async fn answer_fenced(
    store: &impl Store,
    run: RunId,
    events: Option<EncodedEvents>,
) -> Result<(), StoreError> {
    let Some(events) = events else {
        return Err(StoreError::Fenced);
    };
    let before = events.first_seq().checked_sub(1);
    let stored = store.events(run, before, events.bytes().len()).await?;
    let stored = EncodedEvents::join_all(stored.iter());
    if stored.is_some_and(|stored| stored.bytes().starts_with(events.bytes())) {
        return Ok(());
    }
    Err(StoreError::Fenced)
}
