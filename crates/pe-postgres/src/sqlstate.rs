//! Whose fault an answer of Postgres is: the world's (try again) or the statement's (the delivery at hand).

/// Codes that speak of the world, by prefix: connection, rollback, resources, operator, read-only server, lock timeout.
/// The rest, classes 22, 23 and 42 before all, are the delivery's.
const WORLD: [&str; 13] =
    ["08", "28", "3D000", "40", "53", "57", "58", "25006", "25P03", "25P04", "55P03", "55006", "F0"];

/// Whether an error with this code may go away by itself.
pub fn is_world(code: &str) -> bool {
    WORLD.iter().any(|prefix| code.starts_with(prefix))
}

/// Whether the server does not let us in: a wrong role, password or database.
pub fn is_refusal(code: &str) -> bool {
    code.starts_with("28") || code == "3D000"
}

/// Whether the role may not do what the statement does: it lacks a grant.
pub fn is_denial(code: &str) -> bool {
    code == "42501"
}

/// Whether the rows are to blame: values and constraints. Else it is the statement, or what it works on.
pub fn is_of_rows(code: &str) -> bool {
    code.starts_with("22") || code.starts_with("23")
}

/// What to say of an error about data (class 22), whose words in Postgres quote the data. Other classes name tables, columns
/// and constraints only; `raise exception` (P0001) says what the table's owner wrote, and is said as it is.
pub fn own_words(code: &str) -> Option<&'static str> {
    Some(match code {
        _ if !code.starts_with("22") => return None,
        "22P02" | "22P03" => "a value is not of its type",
        "22001" => "a value is too long",
        "22003" => "a number is out of range",
        "22007" => "a date or time is not one",
        "22008" => "a date or time is out of range",
        "22012" => "division by zero",
        "22004" => "a value is null and must not be",
        "22021" | "22P05" => "a text cannot be encoded",
        _ => "a value cannot be used",
    })
}

#[cfg(test)]
mod tests {
    use super::{is_denial, is_of_rows, is_refusal, is_world, own_words};

    #[test]
    fn what_quotes_data_is_said_in_our_own_words() {
        assert_eq!(own_words("22P02"), Some("a value is not of its type"));
        assert_eq!(own_words("22030"), Some("a value cannot be used"));
        for code in ["23505", "23514", "42501", "P0001", "53100"] {
            assert_eq!(own_words(code), None, "{code}");
        }
    }

    #[test]
    fn a_server_that_says_no_is_not_one_that_is_away() {
        assert!(is_refusal("28P01") && is_refusal("28000") && is_refusal("3D000"));
        assert!(!is_refusal("57P03") && !is_refusal("53300") && !is_refusal("08006"));
    }

    #[test]
    fn what_is_no_fault_of_the_rows_is_told_from_it() {
        assert!(is_of_rows("22P02") && is_of_rows("23505"));
        assert!(!is_of_rows("42501") && !is_of_rows("42703") && !is_of_rows("54011"));
        assert!(is_denial("42501") && !is_denial("42P01"));
    }

    #[test]
    fn the_world_and_the_delivery_are_told_apart() {
        for code in ["08006", "40001", "40P01", "53100", "53300", "57P01", "57014", "25006", "55P03"] {
            assert!(is_world(code), "{code}");
        }
        for code in ["22003", "23505", "42501", "42703", "0A000", "P0001"] {
            assert!(!is_world(code), "{code}");
        }
    }
}
