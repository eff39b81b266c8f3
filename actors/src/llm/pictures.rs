//! Pictures in uploaded files: what a request names by id is put into it when the call is made, and nowhere else.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::call::ModelCall;
use super::progress::CallFailure;
use crate::ids::FileId;
use crate::item::{ContentPart, ImageSource, Item, ItemContent};
use crate::ports::{ImageFileError, ImageFiles, ModelError, ModelErrorKind};
use crate::retry::{Attempts, RetryPolicy};

/// Where pictures come from, and how much of them one call may carry. A picture that is shown twice counts twice: it is sent twice.
#[derive(Clone)]
pub struct Pictures {
    /// Where.
    pub files: Arc<dyn ImageFiles>,
    /// Bytes of data URLs in one request; the oldest pictures beyond are left out, and the model is told so.
    pub max_bytes_per_call: usize,
    /// How many are looked for, the newest first; so it is with those beyond.
    pub max_count_per_call: usize,
}

/// How long the storage may take for one picture. Longer silence is trouble: others want the room of the call that waits for it.
const LONGEST_LOOK: Duration = Duration::from_secs(30);

/// What a place in a conversation shows: the picture's data URL, or nothing where there is none that can be shown.
type Shown = Option<Arc<str>>;

/// The tries at a storage that is in trouble. Between them a call has no room.
pub(super) struct StorageTries(Attempts);

impl StorageTries {
    pub(super) fn new(retry: RetryPolicy) -> Self {
        Self(Attempts::new(retry))
    }

    /// One was in vain: waits until it is time for the next, if there is to be one.
    pub(super) async fn wait(&mut self) -> Result<(), CallFailure> {
        self.0.begin();
        let unavailable = ModelError::new(ModelErrorKind::Connection, "the storage of files does not answer");
        let delay = self.0.next_delay(&unavailable).ok_or(CallFailure::Files)?;
        sleep(delay).await;
        Ok(())
    }
}

/// What a model is to see.
type Conversation = Arc<[Arc<Item>]>;

impl ModelCall {
    /// What the model sees, and how much is left of the time that a call may take: for that long its room is lent, loading included. `None` if
    /// the storage is in trouble: it is tried once.
    pub(super) async fn conversation_with_pictures(&self) -> Result<Option<(Conversation, Duration)>, CallFailure> {
        let longest = self.wish.routes[0].calls.timeouts.call;
        let began = Instant::now();
        let loading = timeout(longest, shown(self)).await;
        let conversation = loading.map_err(|_| CallFailure::Files)?;
        Ok(conversation.map(|conversation| (conversation, longest.saturating_sub(began.elapsed()))))
    }
}

/// The call's conversation with the pictures in it; `None` if the storage is in trouble. A picture that is gone, or is not to be shown any
/// more, becomes a sentence that says so: a conversation must not break because somebody deleted a file.
async fn shown(call: &ModelCall) -> Option<Conversation> {
    let conversation = &call.wish.request.conversation;
    let places = files_of(conversation);
    if places.is_empty() {
        return Some(conversation.clone());
    }
    let Some(pictures) = &call.services.pictures else {
        return Some(conversation.clone());
    };
    let mut shown = find(call, pictures, &places).await?.into_iter();
    let with_pictures = conversation.iter().map(|item| with_pictures(item, &mut shown));
    Some(with_pictures.collect())
}

/// What each of these places shows, in their order; `None` if the storage is in trouble. Each file is looked for once, and its picture is in
/// memory once.
async fn find(call: &ModelCall, pictures: &Pictures, places: &[FileId]) -> Option<Vec<Shown>> {
    let mut found: HashMap<FileId, Shown> = HashMap::new();
    let mut all_shown = vec![None; places.len()];
    let mut room = pictures.max_bytes_per_call;
    // The newest is what the conversation is about.
    let newest = all_shown.iter_mut().zip(places).rev().take(pictures.max_count_per_call);
    for (shown, file) in newest {
        let picture = match found.get(file) {
            Some(known) => known.clone(),
            None => {
                let picture = look_for(call, pictures, *file).await?;
                found.insert(*file, picture.clone());
                picture
            }
        };
        let Some(url) = picture else { continue };
        if url.len() > room {
            break;
        }
        room -= url.len();
        *shown = Some(url);
    }
    Some(all_shown)
}

/// The picture, if there is one that can be shown; `None` if the storage does not say.
async fn look_for(call: &ModelCall, pictures: &Pictures, file: FileId) -> Option<Shown> {
    let looking = pictures.files.data_url(&call.wish.account, file);
    let looked = timeout(LONGEST_LOOK, looking).await;
    match looked.unwrap_or(Err(ImageFileError::Unavailable)) {
        Ok(url) => Some(Some(url.into())),
        Err(ImageFileError::Unavailable) => None,
        Err(error) => {
            tracing::debug!(run_id = %call.wish.request.run_id, file_id = %file, %error, "a picture is left out");
            Some(None)
        }
    }
}

/// The file of each place where a conversation shows one, oldest first.
fn files_of(conversation: &[Arc<Item>]) -> Vec<FileId> {
    let mut files = Vec::new();
    for item in conversation {
        if let ItemContent::Message { content, .. } = &item.content {
            files.extend(content.iter().filter_map(file_of));
        }
    }
    files
}

fn file_of(part: &ContentPart) -> Option<FileId> {
    match part {
        ContentPart::Image {
            source: ImageSource::File { file_id },
            ..
        } => Some(*file_id),
        _ => None,
    }
}

/// The item with what its places show, which it takes from the beginning of `shown`.
fn with_pictures(item: &Arc<Item>, shown: &mut impl Iterator<Item = Shown>) -> Arc<Item> {
    let ItemContent::Message { role, content } = &item.content else {
        return item.clone();
    };
    if !content.iter().any(|part| file_of(part).is_some()) {
        return item.clone();
    }
    let content = content.iter().map(|part| with_picture(part, shown)).collect();
    Arc::new(Item {
        content: ItemContent::Message { role: *role, content },
        ..Item::clone(item)
    })
}

fn with_picture(part: &ContentPart, shown: &mut impl Iterator<Item = Shown>) -> ContentPart {
    let ContentPart::Image {
        source: ImageSource::File { .. },
        detail,
        cache_control,
    } = part
    else {
        return part.clone();
    };
    match shown.next().flatten() {
        Some(url) => ContentPart::Image {
            source: ImageSource::url(url),
            detail: *detail,
            cache_control: cache_control.clone(),
        },
        None => ContentPart::Text {
            text: ImageSource::NOT_SHOWN.to_owned(),
            cache_control: cache_control.clone(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::{ItemStatus, Role};

    #[test]
    fn a_picture_takes_the_place_of_its_file_and_a_sentence_that_of_one_that_is_gone() {
        let (here, gone) = (FileId::new(), FileId::new());
        let picture = |file_id| ContentPart::Image {
            source: ImageSource::File { file_id },
            detail: None,
            cache_control: None,
        };
        let content = vec![ContentPart::text("Look:"), picture(here), picture(gone)];
        let role = Role::User;
        let item = Arc::new(Item::new(ItemStatus::Completed, ItemContent::Message { role, content }));
        assert_eq!(files_of(std::slice::from_ref(&item)), [here, gone]);
        let mut pictures = [Some("data:image/png;base64,aGk=".into()), None].into_iter();
        let shown = with_pictures(&item, &mut pictures);
        let ItemContent::Message { content, .. } = &shown.content else {
            panic!("another item");
        };
        assert_eq!(shown.id, item.id);
        assert_eq!(
            content[1..],
            [
                ContentPart::Image {
                    source: ImageSource::url("data:image/png;base64,aGk="),
                    detail: None,
                    cache_control: None,
                },
                ContentPart::text(ImageSource::NOT_SHOWN)
            ]
        );
        let stored = serde_json::to_value(&*item).expect("it serialises");
        assert_eq!(stored["content"][1]["file_id"], here.to_string());
        assert_eq!(stored["content"][1]["type"], "image");
        let again: Item = serde_json::from_value(stored).expect("it reads back");
        assert_eq!(again, *item);
    }
}
