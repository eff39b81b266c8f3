//! Pictures in uploaded files: what a request names by id is put into it when the call is made, and nowhere else.

use std::collections::HashMap;
use std::sync::Arc;

use super::call::ModelCall;
use super::progress::CallFailure;
use crate::ids::FileId;
use crate::item::{ContentPart, ImageSource, Item, ItemContent};
use crate::ports::{ImageFileError, ImageFiles, ModelError, ModelErrorKind};
use crate::retry::Attempts;

/// Where pictures come from, and how much of them one call may carry.
#[derive(Clone)]
pub struct Pictures {
    /// Where.
    pub files: Arc<dyn ImageFiles>,
    /// Bytes of data URLs in one request; the oldest pictures beyond are left out, and the model is told so.
    pub max_bytes_per_call: usize,
}

/// Puts the pictures into the request. One that is gone, or is not to be shown any more, becomes a sentence that says so: a conversation
/// must not break because somebody deleted a file.
pub(super) async fn load(call: &mut ModelCall) -> Result<(), CallFailure> {
    let wanted = files_of(&call.wish.request.conversation);
    if wanted.is_empty() {
        return Ok(());
    }
    let Some(pictures) = call.services.pictures.clone() else {
        return Ok(());
    };
    let mut found: HashMap<FileId, String> = HashMap::new();
    let mut room = pictures.max_bytes_per_call;
    // The newest is what the conversation is about.
    for file in wanted.into_iter().rev() {
        if found.contains_key(&file) {
            continue;
        }
        match patiently(call, &pictures, file).await? {
            Some(url) if url.len() <= room => {
                room -= url.len();
                found.insert(file, url);
            }
            Some(_) => room = 0,
            None => {}
        }
        if room == 0 {
            break;
        }
    }
    let conversation = call.wish.request.conversation.iter();
    call.wish.request.conversation = conversation.map(|item| with_pictures(item, &found)).collect();
    Ok(())
}

/// The picture; `None` if there is none that can be shown.
async fn patiently(call: &ModelCall, pictures: &Pictures, file: FileId) -> Result<Option<String>, CallFailure> {
    let mut attempts = Attempts::new(call.wish.routes[0].calls.retry);
    loop {
        attempts.begin();
        match pictures.files.data_url(&call.wish.account, file).await {
            Ok(url) => return Ok(Some(url)),
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

/// The files that a conversation shows, oldest first.
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

fn with_pictures(item: &Arc<Item>, found: &HashMap<FileId, String>) -> Arc<Item> {
    let ItemContent::Message { role, content } = &item.content else {
        return item.clone();
    };
    if !content.iter().any(|part| file_of(part).is_some()) {
        return item.clone();
    }
    let content = content.iter().map(|part| with_picture(part, found)).collect();
    Arc::new(Item {
        content: ItemContent::Message { role: *role, content },
        ..Item::clone(item)
    })
}

fn with_picture(part: &ContentPart, found: &HashMap<FileId, String>) -> ContentPart {
    let ContentPart::Image {
        source: ImageSource::File { file_id },
        detail,
        cache_control,
    } = part
    else {
        return part.clone();
    };
    match found.get(file_id) {
        Some(url) => ContentPart::Image {
            source: ImageSource::url(url.as_str()),
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
        let shown = with_pictures(&item, &HashMap::from([(here, "data:image/png;base64,aGk=".to_owned())]));
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
