//! Words that others wrote, made harmless for a log and a terminal: what moves the cursor, ends a line, turns the direction
//! of writing or cannot be seen is escaped. So a key or a header cannot forge a line, or hide a part of one.

use std::borrow::Cow;
use std::fmt::Display;

/// Escapes invisible characters: `\u{1b}[31m`.
pub fn text(words: &str) -> Cow<'_, str> {
    if !words.chars().any(is_hidden) {
        return Cow::Borrowed(words);
    }
    let mut shown = String::with_capacity(words.len() + 16);
    for c in words.chars() {
        if is_hidden(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// Returns a document as JSON with the same characters escaped, which does not change its meaning. Line ends of the
/// document itself are kept.
pub fn json(document: &impl Display) -> String {
    let written = document.to_string();
    // JSON itself escapes the controls of ASCII but the last; outside of its strings it has no others
    let foreign = |c: char| c > '\u{7e}' && is_hidden(c);
    if !written.chars().any(foreign) {
        return written;
    }
    let mut shown = String::with_capacity(written.len() + 16);
    for c in written.chars() {
        if foreign(c) {
            shown.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Controls, line and paragraph separators, what turns or joins, and what has no width.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e01ef}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_seen_stays_and_what_is_not_is_escaped() {
        for plain in ["", "data/dbo/e/LOAD00000001.csv.gz", "é 漢 🙂 \"quoted\" \\"] {
            assert!(matches!(text(plain), Cow::Borrowed(same) if same == plain));
        }
        assert_eq!(text("a\tb\u{1b}[2J\r\n\u{7f}\u{9b}é"), "a\\tb\\u{1b}[2J\\r\\n\\u{7f}\\u{9b}é");
        assert_eq!(text("\u{202e}\u{2028}\u{200b}\u{feff}"), "\\u{202e}\\u{2028}\\u{200b}\\u{feff}");
    }

    #[test]
    fn json_says_the_same_to_who_parses_it() {
        let hostile = "a\n\u{1b}\u{7f}\u{9b}\u{202e}\u{e0041}é\"";
        let document = serde_json::json!({ "key": hostile });
        let shown = json(&document);
        assert_eq!(shown, r#"{"key":"a\n\u001b\u007f\u009b\u202e\udb40\udc41é\""}"#);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).expect("JSON"), document);
        assert_eq!(json(&"{\n}"), "{\n}");
    }
}
