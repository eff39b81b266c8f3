//! In which encoding a text is.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8};

/// Bytes of a page that are looked through for what it says of itself.
const BEGINNING: usize = 1024;

/// The text. By its byte order mark, else by what the server says, else by what the page says, else it is UTF-8.
pub(in crate::tools) fn decoded<'body>(content_type: Option<&str>, body: &'body [u8]) -> Cow<'body, str> {
    let of_server = content_type.and_then(|content_type| label_in(content_type.as_bytes()));
    let encoding = of_server.or_else(|| of_page(body));
    encoding.unwrap_or(UTF_8).decode(body).0
}

/// What a page says of itself. Where that can be read, it is none that is unlike ASCII, whatever it says.
pub(in crate::tools) fn of_page(body: &[u8]) -> Option<&'static Encoding> {
    let said = label_in(&body[..body.len().min(BEGINNING)]);
    said.filter(|encoding| encoding.is_ascii_compatible())
}

/// What `charset=` names.
fn label_in(text: &[u8]) -> Option<&'static Encoding> {
    const MARK: &[u8] = b"charset=";
    let at = text
        .windows(MARK.len())
        .position(|window| window.eq_ignore_ascii_case(MARK))?;
    let label = &text[at + MARK.len()..];
    let label = label
        .strip_prefix(b"\"")
        .or_else(|| label.strip_prefix(b"'"))
        .unwrap_or(label);
    let is_of_label = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b':' | b'.');
    let length = label.iter().take_while(is_of_label).count();
    Encoding::for_label(&label[..length])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_found_wherever_it_is_said() {
        for (content_type, body, text) in [
            (Some("text/html; charset=windows-1251"), &b"\xcf"[..], "П"),
            (
                Some("text/html"),
                b"<meta charset='ISO-8859-2'>\xb1",
                "<meta charset='ISO-8859-2'>ą",
            ),
            (
                None,
                b"<meta http-equiv=x content=\"text/html; CHARSET=shift_jis\">\x83\x65",
                "<meta http-equiv=x content=\"text/html; CHARSET=shift_jis\">テ",
            ),
            (None, b"<meta charset=utf-16>x", "<meta charset=utf-16>x"),
            (None, "é".as_bytes(), "é"),
            (Some("text/plain; charset=iso-8859-1"), b"\xef\xbb\xbf\xc3\xa9", "é"),
            (Some("text/plain; charset=nonsense"), "é".as_bytes(), "é"),
        ] {
            assert_eq!(decoded(content_type, body), text);
        }
    }
}
