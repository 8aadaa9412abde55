//! Sets JSON text with an indent of one blank, as Python's `json.dumps(…, indent=1)` does, and escapes what is not ASCII.

/// Returns the text with a line for each member. Numbers and strings stay as they are.
pub(crate) fn indent(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 5 / 4);
    let (mut depth, mut chars) = (0_usize, json.chars().peekable());
    while let Some(c) = chars.next() {
        match c {
            '"' => string(&mut out, &mut chars),
            '{' | '[' => {
                while chars.next_if(|next| next.is_ascii_whitespace()).is_some() {}
                out.push(c);
                if let Some(end) = chars.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    new_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => out.push(c),
        }
    }
    out
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n(' ', depth));
}

/// Copies a string to its closing quote.
fn string(out: &mut String, chars: &mut impl Iterator<Item = char>) {
    out.push('"');
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => {
                out.push(c);
                out.extend(chars.next());
            }
            c if c.is_ascii() => out.push(c),
            c => out.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}"))),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_stand_on_lines_of_their_own() {
        let json = r#"{"a":1.50, "b":"x, {é\" 😀","c":[],"d":[1,{"e":null}]}"#;
        let expected = "{\n \"a\": 1.50,\n \"b\": \"x, {\\u00e9\\\" \\ud83d\\ude00\",\n \"c\": [],\n \"d\": [\n  1,\n  {\n   \"e\": null\n  }\n ]\n}";
        assert_eq!(indent(json), expected);
    }
}
