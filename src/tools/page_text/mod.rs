//! From HTML to text for a model: headings, lists and links as in Markdown, nothing of what a browser does not show.
//!
//! It goes through the tokens once and keeps no tree: however a page is nested, it takes time and memory in proportion to its bytes.

pub(super) mod charset;
mod writer;

use html5gum::emitters::default::{DefaultEmitter, EndTag, StartTag, Token};
use html5gum::{HtmlString, Tokenizer};
use reqwest::Url;

use writer::Writer;

/// Bytes of an address that is shown.
const LONGEST_LINK: usize = 500;

/// What nobody sees.
const HIDDEN: &[&[u8]] = &[
    b"canvas",
    b"head",
    b"iframe",
    b"noframes",
    b"noscript",
    b"object",
    b"script",
    b"select",
    b"style",
    b"svg",
    b"template",
    b"textarea",
];

/// What begins a new line.
const BLOCKS: &[&[u8]] = &[
    b"address",
    b"article",
    b"aside",
    b"blockquote",
    b"body",
    b"caption",
    b"dd",
    b"details",
    b"dialog",
    b"div",
    b"dl",
    b"dt",
    b"fieldset",
    b"figcaption",
    b"figure",
    b"footer",
    b"form",
    b"header",
    b"hr",
    b"legend",
    b"main",
    b"nav",
    b"ol",
    b"p",
    b"pre",
    b"section",
    b"summary",
    b"table",
    b"tbody",
    b"tfoot",
    b"thead",
    b"tr",
    b"ul",
];

/// The text of a page.
#[derive(Debug, Default)]
pub(super) struct PageText {
    pub(super) title: String,
    pub(super) text: String,
}

struct Reading {
    writer: Writer,
    title: String,
    /// What links are relative to, if that is known.
    base: Option<Url>,
    in_title: bool,
    /// The element that hides all that is in it, and how many of its name are open.
    hidden: Option<(Vec<u8>, usize)>,
    preformatted: usize,
    /// Where the text of a link begins, and where it leads.
    link: Option<(usize, String)>,
}

impl PageText {
    /// Of a page, from this address if it has one: without one, only links that say all are links. Ends soon after `most` bytes of text.
    pub(super) fn of(html: &str, address: Option<&Url>, most: usize) -> Self {
        let mut emitter = DefaultEmitter::default();
        emitter.naively_switch_states(true);
        let mut reading = Reading {
            writer: Writer::default(),
            title: String::new(),
            base: address.cloned(),
            in_title: false,
            hidden: None,
            preformatted: 0,
            link: None,
        };
        for Ok(token) in Tokenizer::new_with_emitter(html, emitter) {
            match token {
                Token::StartTag(tag) => reading.begin(&tag),
                Token::EndTag(tag) => reading.end(&tag),
                Token::String(text) => reading.text(&String::from_utf8_lossy(&text)),
                Token::Comment(_) | Token::Doctype(_) | Token::Error(_) => {}
            }
            if reading.writer.text.len() > most {
                break;
            }
        }
        Self {
            title: reading.title.split_whitespace().collect::<Vec<_>>().join(" "),
            text: reading.writer.text,
        }
    }

    /// The text below its title.
    pub(super) fn with_title(self) -> String {
        if self.title.is_empty() {
            return self.text;
        }
        format!("# {}\n\n{}", self.title, self.text)
    }
}

impl Reading {
    fn begin(&mut self, tag: &StartTag<()>) {
        let name: &[u8] = &tag.name;
        match name {
            // It stands in the head, which is not shown otherwise.
            b"title" => self.in_title = self.title.is_empty(),
            b"base" => {
                if let Some(url) = attribute(tag, b"href").and_then(|href| self.resolved(&href)) {
                    self.base = Some(url);
                }
            }
            // Whoever leaves the head open means it to end here.
            b"body" if self.hidden.as_ref().is_some_and(|(hidden, _)| hidden == b"head") => self.hidden = None,
            _ => {}
        }
        if let Some((hidden, open)) = &mut self.hidden {
            *open += usize::from(hidden == name && !tag.self_closing);
            return;
        }
        match name {
            b"br" => self.writer.lines(1),
            b"li" => {
                self.writer.lines(1);
                self.writer.raw("- ");
            }
            b"td" | b"th" => self.writer.cell(),
            b"a" => {
                self.end_link();
                self.link = self.target_of(tag).map(|target| (self.writer.text.len(), target));
            }
            b"img" => {
                if let Some(alternative) = attribute(tag, b"alt").filter(|text| !text.trim().is_empty()) {
                    self.writer.flowing(&format!(" [image: {}] ", alternative.trim()));
                }
            }
            [b'h', level @ b'1'..=b'6'] => {
                self.writer.lines(2);
                self.writer.raw(&format!("{} ", "#".repeat(usize::from(level - b'0'))));
            }
            name if HIDDEN.contains(&name) && !tag.self_closing => self.hidden = Some((name.to_vec(), 1)),
            name if BLOCKS.contains(&name) => self.writer.lines(lines_around(name)),
            _ => {}
        }
        if name == b"pre" {
            self.preformatted += 1;
        }
    }

    fn end(&mut self, tag: &EndTag<()>) {
        let name: &[u8] = &tag.name;
        if name == b"title" {
            self.in_title = false;
        }
        if let Some((hidden, open)) = &mut self.hidden {
            if hidden == name {
                *open -= 1;
                if *open == 0 {
                    self.hidden = None;
                }
            }
            return;
        }
        match name {
            b"a" => self.end_link(),
            b"li" => self.writer.lines(1),
            b"pre" => {
                self.preformatted = self.preformatted.saturating_sub(1);
                self.writer.lines(2);
            }
            [b'h', b'1'..=b'6'] => self.writer.lines(2),
            name if BLOCKS.contains(&name) => self.writer.lines(lines_around(name)),
            _ => {}
        }
    }

    fn text(&mut self, text: &str) {
        if self.in_title {
            self.title.push_str(text);
        } else if self.hidden.is_some() {
        } else if self.preformatted > 0 {
            self.writer.raw(text);
        } else {
            self.writer.flowing(text);
        }
    }

    /// Makes the text since the link began into one.
    fn end_link(&mut self) {
        let Some((begin, target)) = self.link.take() else {
            return;
        };
        let shown = self.writer.text[begin..].trim_start();
        // Across lines it would be no link to anybody.
        if shown.is_empty() || shown.contains('\n') {
            return;
        }
        let begin = self.writer.text.len() - shown.len();
        self.writer.text.insert(begin, '[');
        self.writer.text.push_str(&format!("]({target})"));
    }

    fn resolved(&self, href: &str) -> Option<Url> {
        match &self.base {
            Some(base) => base.join(href).ok(),
            None => Url::parse(href).ok(),
        }
    }

    fn target_of(&self, tag: &StartTag<()>) -> Option<String> {
        let href = attribute(tag, b"href")?;
        if href.starts_with('#') {
            return None;
        }
        let url = self.resolved(&href)?;
        let is_shown = matches!(url.scheme(), "http" | "https" | "mailto") && url.as_str().len() <= LONGEST_LINK;
        is_shown.then(|| url.into())
    }
}

fn attribute(tag: &StartTag<()>, name: &[u8]) -> Option<String> {
    let value = tag.attributes.get(&HtmlString(name.to_vec()))?;
    Some(String::from_utf8_lossy(value).into_owned())
}

/// Line ends around a block: rows and the like stand close together.
fn lines_around(name: &[u8]) -> usize {
    match name {
        b"tr" | b"dt" | b"dd" | b"tbody" | b"thead" | b"tfoot" => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn page(html: &str) -> PageText {
        let address = "https://a.example/dir/page".parse().expect("a URL");
        PageText::of(html, Some(&address), 1_000_000)
    }

    #[test]
    fn a_page_becomes_the_text_that_a_reader_sees() {
        let page = page(
            "<!doctype html><html><head><title> The \n page </title><style>p{}</style><meta charset=utf-8></head><body>\
             <script>if (a < b) alert('<p>no')</script><h1>Head &amp; <em>line</em></h1>\
             <p>One  two\n three<br>four.</p><ul><li>first</li><li><a href='x?y=1'>second</a>, <a href=#top>up</a></ul>\
             <table><tr><th>A<th>B</tr><tr><td>1</td><td>2</td></tr></table>\
             <pre>  kept\n   as is</pre><img src=x alt='A cat'><noscript><p>hidden</noscript>\
             <svg><title>no</title><text>no</text></svg><p hidden>last &lt;p&gt;",
        );
        assert_eq!(page.title, "The page");
        let expected = "# Head & line\n\nOne two three\nfour.\n\n- first\n- [second](https://a.example/dir/x?y=1), up\n\nA | B\n1 | 2\n\n  kept\n   \
                        as is\n\n[image: A cat]\n\nlast <p>";
        assert_eq!(page.text, expected);
    }

    #[test]
    fn broken_pages_lose_as_little_as_possible() {
        assert_eq!(page("plain").text, "plain");
        assert_eq!(page("<head><title>T</title><body>text").text, "text");
        assert_eq!(page("<a href=javascript:alert(1)>x</a><a>y</a>").text, "xy");
        assert_eq!(
            page("<a href=/1>one<a href=/2>two</a>").text,
            "[one](https://a.example/1)[two](https://a.example/2)"
        );
        assert_eq!(
            page("<base href='https://b.example/'><a href=c>c</a>").text,
            "[c](https://b.example/c)"
        );
        assert_eq!(page("</div></pre></li>a<script>never closed").text, "a");
    }

    #[test]
    fn a_page_without_an_address_has_the_links_that_need_none() {
        let of = |html| PageText::of(html, None, 1_000_000).with_title();
        assert_eq!(
            of("<a href=/x>a</a> <a href=https://b.example/>b</a>"),
            "a [b](https://b.example/)"
        );
        assert_eq!(
            of("<title>T</title><base href=https://b.example><a href=x>a</a>"),
            "# T\n\n[a](https://b.example/x)"
        );
    }

    #[test]
    fn no_page_takes_long() {
        let hostile = [
            "<div>".repeat(200_000),
            "<b a=1><b a=2><b a=3><p>".repeat(40_000),
            "<table><tr><td>".repeat(60_000),
            format!("<a href=/x>{}", "<a href=/y>z".repeat(80_000)),
            "<".repeat(1_000_000),
            "&".repeat(1_000_000),
            format!(
                "<a {}>",
                (0..80_000).map(|index| format!("a{index} ")).collect::<String>()
            ),
            "<svg>".repeat(200_000),
        ];
        for html in hostile {
            let began = Instant::now();
            let _ = page(&html);
            // A debug build on a busy machine; what is not linear takes minutes.
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "{:.40} took {:?}",
                html,
                began.elapsed()
            );
        }
    }
}
