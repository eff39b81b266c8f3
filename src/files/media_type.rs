//! What a file is, by its first bytes. Names and what clients say are wrong too often to show a model a picture by them.

/// Bytes that are enough.
pub(super) const FIRST_BYTES: usize = 1024;

/// What browsers and providers call nothing in particular.
const UNKNOWN: &str = "application/octet-stream";

/// What the bytes say; where they say nothing, what the client said, unless that is something the bytes would have shown.
pub(super) fn media_type(first_bytes: &[u8], declared: Option<&str>) -> String {
    if let Some(known) = by_content(first_bytes) {
        return known.to_owned();
    }
    let declared = declared.map(str::trim).unwrap_or_default().to_ascii_lowercase();
    let essence = declared.split(';').next().unwrap_or_default().trim();
    let is_token = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
    };
    let is_media_type = essence.len() <= 127
        && essence
            .split_once('/')
            .is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype));
    if is_media_type && !is_image(essence) && essence != "application/pdf" {
        essence.to_owned()
    } else {
        UNKNOWN.to_owned()
    }
}

/// Whether it is a picture that models can be shown.
pub fn is_image(media_type: &str) -> bool {
    matches!(media_type, "image/png" | "image/jpeg" | "image/gif" | "image/webp")
}

fn by_content(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Some("image/png");
    }
    if bytes.starts_with(b"\xff\xd8\xff") {
        return Some("image/jpeg");
    }
    if bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a") {
        return Some("image/gif");
    }
    if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        return Some("image/webp");
    }
    let head = &bytes[..bytes.len().min(FIRST_BYTES)];
    if head.windows(5).any(|window| window == b"%PDF-") {
        return Some("application/pdf");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_known_by_their_bytes_alone() {
        assert_eq!(media_type(b"\x89PNG\r\n\x1a\n....", Some("text/plain")), "image/png");
        assert_eq!(media_type(b"RIFF\0\0\0\0WEBPVP8 ", None), "image/webp");
        assert_eq!(media_type(b"<script>", Some("image/png")), "application/octet-stream");
        assert_eq!(media_type(b"\n%PDF-1.7", None), "application/pdf");
    }

    #[test]
    fn what_the_client_says_counts_where_the_bytes_say_nothing() {
        assert_eq!(media_type(b"a,b", Some("text/csv; charset=utf-8")), "text/csv");
        for wrong in [None, Some(""), Some("text"), Some("a/b\r\nx: y"), Some("a/b/c")] {
            assert_eq!(media_type(b"a,b", wrong), "application/octet-stream", "{wrong:?}");
        }
    }
}
