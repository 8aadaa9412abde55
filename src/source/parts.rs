//! Checks that the parts of a full load are complete: their numbers within a segment have no gap, and no part exists
//! twice. Pure.

use super::key::Part;

/// Returns a key without its compression suffix: compressed or not, it is the same file of the feed.
pub(super) fn unpacked(key: &str) -> &str {
    key.strip_suffix(".gz").unwrap_or(key)
}

/// Numbers that are missing in a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gap {
    /// The part in front of it.
    pub behind: Part,
    pub words: String,
}

/// Returns the first gap in the numbers of a segment that does not `pass`, by the key of the part behind it. `parts` are in order.
pub(super) fn gap<'a>(parts: impl Iterator<Item = (Part, &'a str)>, pass: impl Fn(&str) -> bool) -> Option<Gap> {
    let mut before: Option<(Part, &str)> = None;
    for (part, key) in parts {
        if let Some((behind, key_before)) = before.replace((part, key))
            && let Some((first, last)) = behind.missing_before(part)
            && !pass(key)
        {
            let missing = match first == last {
                true => format!("part {first} is missing"),
                false => format!("parts {first} to {last} are missing"),
            };
            return Some(Gap { behind, words: format!("{missing} between {key_before} and {key}") });
        }
    }
    None
}

/// Returns the sentence about a part that exists twice, packed and unpacked. `keys` are in order.
pub(super) fn twice<'a>(keys: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut before = None;
    for key in keys {
        if let Some(other) = before.replace(key)
            && unpacked(other) == unpacked(key)
        {
            return Some(format!(
                "{other} and {key} are one part, unpacked and packed, and the rows of one only can be right: delete one of \
                 them, then `deliveries retry`"
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::key::{ParsedKey, parse};

    fn part(key: &str) -> (Part, &str) {
        match parse("d", key) {
            ParsedKey::Snapshot { part, .. } => (part, key),
            other => panic!("{other:?}"),
        }
    }

    fn words(keys: &[&str]) -> Option<String> {
        gap(keys.iter().map(|key| part(key)), |_| false).map(|gap| gap.words)
    }

    #[test]
    fn a_gap_is_found_within_a_segment_only() {
        let [one, two, three, nine, ten] =
            ["1", "2", "3", "9", "A"].map(|number| format!("d/s/e/LOAD0000000{number}.csv"));
        assert_eq!(words(&[&one, &two, &three]), None);
        assert_eq!(words(&[&nine, &ten]), None, "hexadecimal");
        assert_eq!(words(&[&one, &three]), Some(format!("part 2 is missing between {one} and {three}")));
        assert_eq!(words(&[&one, &two, &nine]), Some(format!("parts 3 to 8 are missing between {two} and {nine}")));
        let [first, second] = ["d/s/e/SEGMENT1_LOAD00000001.csv", "d/s/e/SEGMENT2_LOAD00000003.csv"];
        assert_eq!(words(&[first, second]), None, "each segment counts for itself");
        assert_eq!(words(&[&one, &one.replace("/e/", "/e/20220922/"), &two]), None, "another folder, the same number");
    }

    #[test]
    fn a_part_lies_there_once() {
        let keys = ["d/LOAD1.csv", "d/LOAD1.csv.gz", "d/LOAD2.csv"];
        assert!(
            twice(keys.into_iter()).is_some_and(|words| words.starts_with("d/LOAD1.csv and d/LOAD1.csv.gz are one"))
        );
        assert_eq!(twice(keys.into_iter().skip(1)), None);
    }
}
