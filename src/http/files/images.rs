//! Pictures of a run's input that are uploaded files: checked before the run is taken.

use callboard_actors::ids::{AccountId, FileId};
use callboard_actors::item::{ContentPart, ImageSource, ItemContent};
use callboard_actors::ports::ImageFileError;

use super::errors::files_unavailable;
use crate::files::FileService;
use crate::http::error::{ApiError, ErrorCode};
use crate::http::state::HttpState;

/// Refuses what names a file that the account does not have, or that no model could be shown, and more pictures than one model call may
/// carry. The error names the part.
pub(in crate::http) async fn check_images(
    state: &HttpState,
    account: &AccountId,
    input: &[ItemContent],
) -> Result<(), ApiError> {
    let wanted = image_files(input);
    if wanted.is_empty() {
        return Ok(());
    }
    let (files, account) = (state.parts.files.clone(), account.clone());
    let most = state.options.max_image_bytes_per_call;
    state
        .on_io(async move { check_each(&files, &account, wanted, most).await })
        .await?
}

async fn check_each(
    files: &FileService,
    account: &AccountId,
    wanted: Vec<(String, FileId)>,
    most: usize,
) -> Result<(), ApiError> {
    let mut seen = std::collections::BTreeSet::new();
    let mut sum = 0u64;
    for (param, file) in wanted {
        if !seen.insert(file) {
            continue;
        }
        let bytes = match files.check_image(account, file).await {
            Ok(bytes) => bytes,
            Err(ImageFileError::Unavailable) => return Err(files_unavailable()),
            Err(error) => {
                let code = match error {
                    ImageFileError::Unknown => ErrorCode::UnknownFile,
                    _ => ErrorCode::InvalidImage,
                };
                return Err(ApiError::new(code, error.to_string()).with_param(param));
            }
        };
        // As it is sent: base64.
        sum = sum.saturating_add(bytes.div_ceil(3).saturating_mul(4).saturating_add(64));
        if sum > most as u64 {
            let message = format!(
                "the pictures of the input together are more than the {most} bytes that one model call may carry"
            );
            return Err(ApiError::new(ErrorCode::InvalidImage, message).with_param(param));
        }
    }
    Ok(())
}

/// Each file that the input shows, with the field that names it.
fn image_files(input: &[ItemContent]) -> Vec<(String, FileId)> {
    let mut found = Vec::new();
    for (index, item) in input.iter().enumerate() {
        let ItemContent::Message { content, .. } = item else {
            continue;
        };
        for (part_index, part) in content.iter().enumerate() {
            if let ContentPart::Image {
                source: ImageSource::File { file_id },
                ..
            } = part
            {
                found.push((format!("input[{index}].content[{part_index}].file_id"), *file_id));
            }
        }
    }
    found
}
