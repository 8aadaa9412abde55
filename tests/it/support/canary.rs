//! Secrets that sing: words that stand nowhere but where a secret is given, looked for in every form that they may take on
//! their way out.

/// What was given as a secret.
pub struct Canaries(Vec<String>);

impl Canaries {
    /// Letters and digits only, so that quoting and percent-encoding leave them as they are.
    pub fn new<const N: usize>(names: [&str; N]) -> (Self, [String; N]) {
        let words = names.map(|name| format!("Kq{name}Zx7{}Jw", std::process::id()));
        (Self(words.to_vec()), words)
    }

    pub fn and(mut self, word: String) -> Self {
        self.0.push(word);
        self
    }

    /// None of them is in `output`, in no form.
    #[track_caller]
    pub fn are_silent_in(&self, output: &str, when: &str) {
        let folded = output.to_ascii_lowercase();
        for word in &self.0 {
            for (form, text) in forms(word) {
                let found = folded.find(&text.to_ascii_lowercase());
                let line = found.and_then(|at| output.get(..at)).map(|before| before.lines().count());
                let line = line.and_then(|count| output.lines().nth(count.saturating_sub(1))).unwrap_or_default();
                assert!(found.is_none(), "{when}: {word} is said, {form}:\n{line}");
            }
        }
    }
}

fn forms(word: &str) -> Vec<(&'static str, String)> {
    let bytes = word.as_bytes();
    let listed = |each: fn(&u8) -> String, between: &str| bytes.iter().map(each).collect::<Vec<_>>().join(between);
    let mut forms = vec![
        ("as it is", word.to_owned()),
        ("percent-encoded", listed(|byte| format!("%{byte:02x}"), "")),
        ("in hex", listed(|byte| format!("{byte:02x}"), "")),
        ("as a list of bytes", listed(u8::to_string, ", ")),
    ];
    forms.extend((0..3).map(|before| ("in base64", base64(bytes, before))));
    forms
}

/// What base64 makes of the bytes behind so many others, without the characters that depend on their neighbours.
fn base64(bytes: &[u8], before: usize) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bit = |at: usize| bytes[at / 8 - before] >> (7 - at % 8) & 1;
    let (first, last) = ((before * 8).div_ceil(6), (before + bytes.len()) * 8 / 6);
    let digit = |at: usize| DIGITS[(at * 6..at * 6 + 6).fold(0, |digit, at| digit << 1 | usize::from(bit(at)))];
    (first..last).map(|at| char::from(digit(at))).collect()
}

#[test]
fn a_canary_is_heard_in_every_form() {
    // as coreutils encode it: printf XXYcanary | base64
    assert_eq!(base64(b"canary", 0), "Y2FuYXJ5");
    assert!("WGNhbmFyeQ==".contains(&base64(b"canary", 1)), "{}", base64(b"canary", 1));
    assert!("WFhjYW5hcnk=".contains(&base64(b"canary", 2)), "{}", base64(b"canary", 2));
    let (canaries, [word]) = Canaries::new(["form"]);
    for (form, text) in forms(&word) {
        let heard = std::panic::catch_unwind(|| canaries.are_silent_in(&format!("before\n{text} behind"), form));
        assert!(heard.is_err(), "{form}");
    }
    canaries.are_silent_in("nothing at all", "silence");
}
