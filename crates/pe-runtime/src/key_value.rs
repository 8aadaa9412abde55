//! Parses `key=value key='a value'`, the form of SOURCE, TARGET and FEED, with libpq's quoting. A caller takes the
//! keys that it knows; all errors and unknown keys are reported together. Errors name positions and known keys but do
//! not quote the text, because any word may be a piece of a password. Only a key that looks like a misspelt one is
//! named.

use std::fmt;

/// Pairs of one text that were not taken yet, and the errors so far.
pub struct Pairs {
    left: Vec<Pair>,
    faults: Vec<String>,
    /// Unit in which positions of pairs are counted.
    unit: &'static str,
    names: Names,
    /// Keys that may come more than once.
    lists: &'static [&'static str],
}

/// Unknown keys that errors may name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    None,
    /// Keys that begin like a known one, or are a part of one: they are slips, and no pieces of a password.
    Similar,
}

/// All errors of one text, a sentence or two each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<String>);

struct Pair {
    place: usize,
    key: String,
    value: String,
}

impl Pairs {
    /// Parses one of our own variables. A backslash escapes only a quote, a space or a backslash, so that `\t` and
    /// `\N` can be written as they are; `key=` followed by a space is empty.
    pub fn read(text: &str) -> Self {
        let pairs = Self::scan(text, |next| matches!(next, '\'' | '\\' | ' '));
        Self { names: Names::Similar, ..pairs }
    }

    /// Parses one of our own variables, with keys that may be given more than once.
    pub fn read_lists(text: &str, lists: &'static [&'static str]) -> Self {
        let mut pairs = Self::empty("word");
        (pairs.names, pairs.lists) = (Names::Similar, lists);
        pairs.fill(text, |next| matches!(next, '\'' | '\\' | ' '));
        pairs
    }

    /// Parses a libpq connection string, in which a backslash escapes any character.
    pub fn libpq(text: &str) -> Self {
        Self::scan(text, |_| true)
    }

    /// Creates pairs from a list, like a URL's parameters.
    pub fn from_list(list: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut pairs = Self::empty("parameter");
        for (place, (key, value)) in (1..).zip(list) {
            pairs.add(Pair { place, key, value });
        }
        pairs
    }

    /// Takes the value of `key`, if it was given.
    pub fn take(&mut self, key: &str) -> Option<String> {
        let at = self.left.iter().position(|pair| pair.key == key)?;
        Some(self.left.remove(at).value)
    }

    /// Takes a value like [`Pairs::take`]; an empty value counts as absent.
    pub fn take_filled(&mut self, key: &str) -> Option<String> {
        self.take(key).filter(|value| !value.is_empty())
    }

    /// Notes that something is wrong.
    pub fn fault(&mut self, message: impl Into<String>) {
        self.faults.push(message.into());
    }

    /// Ends the parsing: keys that were not taken are errors, with `known` as the hint.
    pub fn finish(mut self, known: &[&str]) -> Result<(), Faults> {
        let hint = known.join(", ");
        for pair in &self.left {
            let named = if self.names.may_show(&pair.key, known) { format!(" ({})", pair.key) } else { String::new() };
            self.faults.push(format!(
                "the key of {} {}{named} is not known. Known are {hint}; a value with spaces needs quotes: key='a b'",
                self.unit, pair.place
            ));
        }
        if self.faults.is_empty() { Ok(()) } else { Err(Faults(self.faults)) }
    }

    fn empty(unit: &'static str) -> Self {
        Self { left: Vec::new(), faults: Vec::new(), unit, names: Names::None, lists: &[] }
    }

    fn scan(text: &str, escapes: fn(char) -> bool) -> Self {
        let mut pairs = Self::empty("word");
        pairs.fill(text, escapes);
        pairs
    }

    fn fill(&mut self, text: &str, escapes: fn(char) -> bool) {
        let mut scan = Scan { rest: text.trim(), place: 0, escapes };
        while let Some(found) = scan.pair() {
            match found {
                Ok(pair) => self.add(pair),
                Err(fault) => self.faults.push(fault),
            }
        }
    }

    fn add(&mut self, pair: Pair) {
        match self.left.iter().find(|other| other.key == pair.key) {
            Some(first) if !self.lists.contains(&pair.key.as_str()) => {
                let (unit, one, two) = (self.unit, first.place, pair.place);
                self.fault(format!("{unit}s {one} and {two} have the same key. Keep one"));
            }
            _ => self.left.push(pair),
        }
    }
}

impl Names {
    fn may_show(self, key: &str, known: &[&str]) -> bool {
        // longer is no key of anybody's
        let plain =
            (3..=40).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let similar =
            |other: &&str| plain && (other.contains(key) || other[..4.min(other.len())] == key[..4.min(key.len())]);
        match self {
            Self::None => false,
            Self::Similar => known.iter().any(similar),
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for Faults {}

struct Scan<'a> {
    rest: &'a str,
    place: usize,
    escapes: fn(char) -> bool,
}

impl Scan<'_> {
    fn pair(&mut self) -> Option<Result<Pair, String>> {
        self.rest = self.rest.trim_start();
        let key = word(self.rest).split('=').next()?;
        if self.rest.is_empty() {
            return None;
        }
        self.place += 1;
        let place = self.place;
        let after = &self.rest[key.len()..];
        let Some(value) = after.trim_start().strip_prefix('=') else {
            self.rest = after;
            return Some(Err(format!(
                "word {place} is not of the form key=value. A value with spaces needs quotes: key='a b'"
            )));
        };
        let key = key.to_owned();
        self.rest = value;
        Some(self.value().map(|value| Pair { place, key, value }))
    }

    /// Parses a value. libpq allows spaces after the `=`; a following word that is itself a pair is not the value,
    /// which was left out.
    fn value(&mut self) -> Result<String, String> {
        let next = self.rest.trim_start();
        if let Some(open) = next.strip_prefix('\'') {
            self.rest = open;
            return self.quoted();
        }
        if next.len() < self.rest.len() {
            if word(next).contains('=') {
                return Ok(String::new());
            }
            self.rest = next;
        }
        Ok(self.until(char::is_whitespace))
    }

    fn quoted(&mut self) -> Result<String, String> {
        let value = self.until(|c| c == '\'');
        match self.rest.strip_prefix('\'') {
            Some(rest) => {
                self.rest = rest;
                Ok(value)
            }
            None => Err(format!("the quote in word {} is never closed", self.place)),
        }
    }

    fn until(&mut self, end: fn(char) -> bool) -> String {
        let mut value = String::new();
        let mut chars = self.rest.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            if end(c) {
                self.rest = &self.rest[at..];
                return value;
            }
            let next = chars.peek().map(|(_, next)| *next);
            match next.filter(|next| c == '\\' && (self.escapes)(*next)) {
                Some(escaped) => {
                    chars.next();
                    value.push(escaped);
                }
                None => value.push(c),
            }
        }
        self.rest = "";
        value
    }
}

fn word(text: &str) -> &str {
    text.split(char::is_whitespace).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(pairs: &Pairs) -> Vec<(&str, &str)> {
        let left = pairs.left.iter();
        left.map(|pair| (pair.key.as_str(), pair.value.as_str())).collect()
    }

    #[test]
    fn words_spaces_and_quotes() {
        let pairs = Pairs::libpq("  a=1 b = 2\tc='x y' d='it\\'s' e=f=g h=\\'\n");
        let wanted = [("a", "1"), ("b", "2"), ("c", "x y"), ("d", "it's"), ("e", "f=g"), ("h", "'")];
        assert_eq!(list(&pairs), wanted);
        assert!(pairs.faults.is_empty());
    }

    #[test]
    fn a_value_left_out_is_empty_and_does_not_eat_the_next_pair() {
        let pairs = Pairs::read("a= b='' c=x d=");
        assert_eq!(list(&pairs), [("a", ""), ("b", ""), ("c", "x"), ("d", "")]);
        assert!(pairs.faults.is_empty());
    }

    #[test]
    fn backslashes_stay_in_our_own_variables_and_escape_in_libpqs() {
        let text = r"a=\t b=\N c=\\x d='\' \\' e=x\ y";
        let own = [("a", r"\t"), ("b", r"\N"), ("c", r"\x"), ("d", r"' \"), ("e", "x y")];
        assert_eq!(list(&Pairs::read(text)), own);
        assert_eq!(list(&Pairs::libpq(text))[0], ("a", "t"));
    }

    #[test]
    fn all_faults_at_once_and_none_repeats_the_text() {
        let mut pairs = Pairs::read("known=1 known=2 loose hunter2=3 last='open hunter2");
        assert_eq!(pairs.take("known").as_deref(), Some("1"));
        pairs.fault("something else");
        let faults = pairs.finish(&["known", "last"]).expect_err("faults");
        assert_eq!(faults.0.len(), 5, "{faults:#?}");
        for part in ["words 1 and 2", "word 3", "word 4", "word 5", "known, last"] {
            assert!(faults.to_string().contains(part), "{part}: {faults}");
        }
        assert!(!faults.to_string().contains("hunter2"), "{faults}");
    }

    #[test]
    fn what_was_taken_is_not_left_over() {
        let mut pairs = Pairs::from_list([("a".to_owned(), "1".to_owned())]);
        assert_eq!(pairs.take("a").as_deref(), Some("1"));
        assert_eq!(pairs.take("a"), None);
        assert!(pairs.finish(&["a"]).is_ok());
    }

    #[test]
    fn an_unknown_key_is_named_only_where_it_is_no_secret() {
        let named = |pairs: Pairs| pairs.finish(&["bucket_key", "bucket_path"]).expect_err("unknown").0.concat();
        assert!(named(Pairs::read("bucket_pth=x")).starts_with("the key of word 1 (bucket_pth) is not known"));
        assert!(named(Pairs::read("path=x")).contains("(path)"));
        for piece in ["hunter2=", "hunter2=x", "b+c=", "bucket/hunter2=x"] {
            let words = named(Pairs::read(&format!("bucket_key=my {piece}")));
            assert!(words.contains("word 2 is not known") && !words.contains("hunter2"), "{words}");
        }
        assert!(!named(Pairs::libpq("bucket_pth=x")).contains("bucket_pth"), "a password may hold anything");
    }

    #[test]
    fn nothing_odd_makes_it_panic_or_loop() {
        for text in ["", " ", "=", "==", "'", "a='", "a=\\", "é=ü", "a\u{3000}b", "=x y"] {
            let _ = Pairs::read(text).finish(&[]);
            let _ = Pairs::libpq(text).finish(&[]);
        }
    }
}
