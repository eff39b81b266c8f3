//! Pictures in uploaded files: what a request names by id is put into it when the call is made, and nowhere else.

use std::collections::HashMap;
use std::sync::Arc;

use super::call::ModelCall;
use super::progress::CallFailure;
use crate::ids::FileId;
use crate::item::{ContentPart, ImageSource, Item, ItemContent};
use crate::ports::{ImageFileError, ImageFiles, ModelError, ModelErrorKind};
use crate::retry::Attempts;

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

/// What a place in a conversation shows: the picture's data URL, or nothing where there is none that can be shown.
type Shown = Option<Arc<str>>;

/// The call's conversation with the pictures in it. One that is gone, or is not to be shown any more, becomes a sentence that says so: a
/// conversation must not break because somebody deleted a file.
pub(super) async fn shown(call: &ModelCall) -> Result<Arc<[Arc<Item>]>, CallFailure> {
    let conversation = &call.wish.request.conversation;
    let places = files_of(conversation);
    if places.is_empty() {
        return Ok(conversation.clone());
    }
    let Some(pictures) = call.services.pictures.clone() else {
        return Ok(conversation.clone());
    };
    let mut shown = find(call, &pictures, &places).await?.into_iter();
    Ok(conversation
        .iter()
        .map(|item| with_pictures(item, &mut shown))
        .collect())
}

/// What each of these places shows, in their order. Each file is looked for once, and its picture is in memory once.
async fn find(call: &ModelCall, pictures: &Pictures, places: &[FileId]) -> Result<Vec<Shown>, CallFailure> {
    let mut found: HashMap<FileId, Shown> = HashMap::new();
    let mut all_shown = vec![None; places.len()];
    let mut room = pictures.max_bytes_per_call;
    // The newest is what the conversation is about.
    let newest = all_shown.iter_mut().zip(places).rev().take(pictures.max_count_per_call);
    for (shown, file) in newest {
        let picture = match found.get(file) {
            Some(known) => known.clone(),
            None => {
                let picture = patiently(call, pictures, *file).await?;
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
    Ok(all_shown)
}

/// The picture; `None` if there is none that can be shown.
async fn patiently(call: &ModelCall, pictures: &Pictures, file: FileId) -> Result<Shown, CallFailure> {
    let mut attempts = Attempts::new(call.wish.routes[0].calls.retry);
    loop {
        attempts.begin();
        match pictures.files.data_url(&call.wish.account, file).await {
            Ok(url) => return Ok(Some(url.into())),
            Err(ImageFileError::Unavailable) => {}
            Err(error) => {
                tracing::debug!(run_id = %call.wish.request.run_id, file_id = %file, %error, "a picture is left out");
                return Ok(None);
            }
        }
        let unavailable = ModelError::new(ModelErrorKind::Connection, "the storage of files does not answer");
        match attempts.next_delay(&unavailable) {
            Some(delay) => tokio::time::sleep(delay).await,
            None => return Err(CallFailure::Files),
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
