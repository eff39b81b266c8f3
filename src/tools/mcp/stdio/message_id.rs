//! Which request a message answers, found while it is read and without keeping it: for messages that are too long to be kept.

use rmcp::model::{NumberOrString, RequestId};

/// Bytes of an id or a name that are looked at.
const LONGEST: usize = 64;

/// Reads a JSON object piece by piece and remembers its own `id`.
#[derive(Debug, Default)]
pub(super) struct MessageIdScanner {
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// The next token of the object itself is a name and not a value.
    expects_name: bool,
    name: Name,
    token: Vec<u8>,
    token_is_text: bool,
    id: Option<RequestId>,
    is_request: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum Name {
    Id,
    #[default]
    Other,
}

impl MessageIdScanner {
    /// Takes the next piece.
    pub(super) fn read(&mut self, piece: &[u8]) {
        for &byte in piece {
            self.read_byte(byte);
        }
    }

    /// The request that the message answers. `None`: it is a request or a notification itself, or no message at all.
    pub(super) fn answered_request(self) -> Option<RequestId> {
        self.id.filter(|_| !self.is_request)
    }

    fn read_byte(&mut self, byte: u8) {
        if self.in_string {
            if self.escaped {
                self.escaped = false;
            } else if byte == b'\\' {
                self.escaped = true;
            } else if byte == b'"' {
                self.in_string = false;
                return self.string_ended();
            }
            return self.keep(byte);
        }
        match byte {
            b'"' => {
                self.in_string = true;
                if self.depth == 1 {
                    self.token.clear();
                    self.token_is_text = true;
                }
            }
            b'{' | b'[' => {
                self.depth += 1;
                self.expects_name = self.depth == 1 && byte == b'{';
            }
            b'}' | b']' => {
                self.value_ended();
                self.depth = self.depth.saturating_sub(1);
            }
            b',' => {
                self.value_ended();
                self.expects_name = self.depth == 1;
            }
            b':' => self.expects_name = false,
            byte if byte.is_ascii_whitespace() => {}
            byte => self.keep(byte),
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.depth == 1 && self.token.len() < LONGEST {
            self.token.push(byte);
        }
    }

    fn string_ended(&mut self) {
        if self.depth != 1 || !self.expects_name {
            return;
        }
        self.name = if self.token == b"id" { Name::Id } else { Name::Other };
        self.is_request |= self.token == b"method";
        self.token.clear();
        self.token_is_text = false;
    }

    fn value_ended(&mut self) {
        if self.depth != 1 {
            return;
        }
        if self.name == Name::Id {
            let text = String::from_utf8_lossy(&self.token);
            self.id = if self.token_is_text {
                Some(NumberOrString::String(text.as_ref().into()))
            } else {
                text.parse().ok().map(NumberOrString::Number)
            };
        }
        self.name = Name::Other;
        self.token.clear();
        self.token_is_text = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(message: &str, piece: usize) -> Option<RequestId> {
        let mut scanner = MessageIdScanner::default();
        for piece in message.as_bytes().chunks(piece) {
            scanner.read(piece);
        }
        scanner.answered_request()
    }

    #[test]
    fn the_id_of_an_answer_is_found_wherever_it_stands() {
        for message in [
            r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"id":9,"text":"a \"id\": 8, {"}]}}"#,
            r#"{"result":{"id":1,"x":[{"id":2},[3]]},"jsonrpc":"2.0","id":7}"#,
            r#" { "error" : {"code": 1, "message": "\\"} , "id" : 7 } "#,
        ] {
            for piece in [1, 2, 3, 1000] {
                assert_eq!(answered(message, piece), Some(NumberOrString::Number(7)), "{message}");
            }
        }
        let text = answered(r#"{"id":"seven","result":{}}"#, 4);
        assert_eq!(text, Some(NumberOrString::String("seven".into())));
    }

    #[test]
    fn what_answers_nothing_has_none() {
        for message in [
            r#"{"id":7,"method":"sampling/createMessage","params":{"id":3}}"#,
            r#"{"method":"notifications/message","params":{"id":3}}"#,
            r#"{"id":null,"error":{}}"#,
            r#"[{"id":7}]"#,
            "id: 7, id: 8",
            "",
        ] {
            assert_eq!(answered(message, 5), None, "{message}");
        }
    }
}
