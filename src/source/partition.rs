//! Date partitions: the folders that DMS puts between a table and its files. Pure.
//!
//! Five sequences (`YYYYMMDD`, `YYYYMMDDHH`, `YYYYMM`, `MMYYYYDD`, `DDMMYYYY`) with four delimiters (`/`, `-`, `_`, none), as the
//! DMS user guide has them. They order nothing: two of them do not sort by time, and the file's name has the time anyway.

/// Returns the folders after a leading date partition, or `None` if there is none. The longest match is used.
pub(super) fn strip<'a, 'b>(folders: &'a [&'b str]) -> Option<&'a [&'b str]> {
    if is_in_one_folder(folders.first()?) {
        return folders.get(1..);
    }
    let length = (2..=4).rev().find(|length| folders.get(..*length).is_some_and(is_date))?;
    folders.get(length..)
}

/// Returns `true` for a date in one folder: `20220922`, `2022-09-22`, `2022_09_22_23`.
fn is_in_one_folder(folder: &str) -> bool {
    let by = |delimiter: char| is_date(&folder.split(delimiter).collect::<Vec<_>>());
    match folder {
        _ if folder.contains('-') => by('-'),
        _ if folder.contains('_') => by('_'),
        _ => FORMS.iter().any(|form| cut(folder, form).is_some_and(|fields| is_date(&fields))),
    }
}

/// The widths of the fields of the five sequences.
const FORMS: [&[usize]; 5] = [&[4, 2, 2], &[4, 2, 2, 2], &[4, 2], &[2, 4, 2], &[2, 2, 4]];

/// Cuts a text without delimiters into fields of these widths.
fn cut<'a>(text: &'a str, form: &[usize]) -> Option<Vec<&'a str>> {
    let mut fields = Vec::with_capacity(form.len());
    let mut rest = text;
    for width in form {
        let (field, after) = rest.split_at_checked(*width)?;
        fields.push(field);
        rest = after;
    }
    rest.is_empty().then_some(fields)
}

/// Returns `true` if the fields match one of the five sequences and are a valid date (and hour).
fn is_date(fields: &[&str]) -> bool {
    let widths: Vec<usize> = fields.iter().map(|field| field.len()).collect();
    let all_digits = fields.iter().all(|field| field.bytes().all(|byte| byte.is_ascii_digit()));
    if !all_digits || !FORMS.contains(&widths.as_slice()) {
        return false;
    }
    let at = |place: usize| fields.get(place).and_then(|field| field.parse::<u16>().ok());
    match widths.as_slice() {
        [4, 2] => is_day(at(0), at(1), Some(1)),
        [4, 2, 2] => is_day(at(0), at(1), at(2)),
        [4, 2, 2, 2] => is_day(at(0), at(1), at(2)) && at(3).is_some_and(|hour| hour < 24),
        [2, 4, 2] => is_day(at(1), at(0), at(2)),
        _ => is_day(at(2), at(1), at(0)),
    }
}

fn is_day(year: Option<u16>, month: Option<u16>, day: Option<u16>) -> bool {
    let byte = |number: Option<u16>| number.and_then(|number| u8::try_from(number).ok());
    let month = byte(month).and_then(|month| time::Month::try_from(month).ok());
    match (year, month, byte(day)) {
        (Some(year), Some(month), Some(day)) => time::Date::from_calendar_date(year.into(), month, day).is_ok(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the number of folders after the leading date partition of a path.
    fn left(path: &str) -> Option<usize> {
        strip(&path.split('/').collect::<Vec<_>>()).map(<[&str]>::len)
    }

    #[test]
    fn five_sequences_with_four_delimiters() {
        for fields in ["2022 09 22", "2022 09 22 23", "2022 09", "09 2022 22", "22 09 2022"] {
            for delimiter in ["/", "-", "_", ""] {
                let path = fields.replace(' ', delimiter);
                assert_eq!(left(&path), Some(0), "{path}");
                assert_eq!(left(&format!("{path}/x")), Some(1), "{path}");
            }
        }
    }

    #[test]
    fn what_is_no_day_is_no_partition() {
        for path in [
            "2022",
            "2022/13",
            "2022-09-31",
            "20220230",
            "2022092224",
            "2022/09-22",
            "2022-09_22",
            "22-2022-09",
            "2022--09",
            "2022-09-",
            "-",
            "_",
            "",
            "9",
            "2022/9/22",
            "20220922235959",
            "２０２２０９",
            "+022/09",
            "notes",
        ] {
            assert_eq!(left(path), None, "{path}");
        }
    }

    #[test]
    fn the_longest_reading_counts() {
        assert_eq!(left("2022/09/22/x"), Some(1));
        assert_eq!(left("2022/09/32"), Some(1), "a month, and a folder that is none of it");
        assert_eq!(left("09/2022/22/2022"), Some(1));
    }
}
