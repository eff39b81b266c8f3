//! Pictures that are uploaded files, where a request names them: checked before anything is taken.

use std::collections::BTreeSet;

use callboard_actors::ids::{AccountId, FileId};
use callboard_actors::item::{ContentPart, ImageSource, ItemContent};
use callboard_actors::ports::ImageFileError;

use crate::http::error::{ApiError, ErrorCode};
use crate::http::state::HttpState;

/// Refuses what names a file that the account does not have, or that no model could be shown, and more pictures than one model call may
/// carry. The error names the part; `field` is where the items stand.
pub(in crate::http) async fn check_images(
    state: &HttpState,
    account: &AccountId,
    field: &str,
    items: &[ItemContent],
) -> Result<(), ApiError> {
    let wanted = image_files(field, items);
    let most = state.options.max_image_count_per_call;
    if let Some((param, _)) = wanted.get(most) {
        return Err(too_many(format!("more than the {most} pictures"), param));
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let (files, account) = (state.parts.files.clone(), account.clone());
    let distinct: BTreeSet<FileId> = wanted.iter().map(|(_, file)| *file).collect();
    let checked = state
        .on_io(async move { files.check_images(&account, &distinct).await })
        .await??;
    let most = state.options.max_image_bytes_per_call;
    let mut sum = 0u64;
    for (param, file) in wanted {
        // Each one asked for has been answered.
        let bytes = checked.get(&file).copied().unwrap_or(Err(ImageFileError::Unknown));
        let bytes = bytes.map_err(|error| {
            let code = match error {
                ImageFileError::Unknown => ErrorCode::UnknownFile,
                _ => ErrorCode::InvalidImage,
            };
            ApiError::new(code, error.to_string()).with_param(&param)
        })?;
        // As it is sent: base64, and as often as it is shown.
        sum = sum.saturating_add(bytes.div_ceil(3).saturating_mul(4).saturating_add(64));
        if sum > most as u64 {
            return Err(too_many(format!("more than the {most} bytes of pictures"), &param));
        }
    }
    Ok(())
}

fn too_many(what: String, param: &str) -> ApiError {
    let message = format!("up to here there are {what} that one model call may carry");
    ApiError::new(ErrorCode::InvalidImage, message).with_param(param)
}

/// Each place where the items show a file: the field that names it, and the file.
fn image_files(field: &str, items: &[ItemContent]) -> Vec<(String, FileId)> {
    let mut found = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let ItemContent::Message { content, .. } = item else {
            continue;
        };
        for (part_index, part) in content.iter().enumerate() {
            if let ContentPart::Image {
                source: ImageSource::File { file_id },
                ..
            } = part
            {
                found.push((format!("{field}[{index}].content[{part_index}].file_id"), *file_id));
            }
        }
    }
    found
}
