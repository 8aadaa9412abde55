//! Classifies the errors of Postgres as temporary failures or errors of the statement.

/// Prefixes of the codes of temporary failures: connection, rollback, resources, operator, read-only server, lock
/// timeout. All others, mainly the classes 22, 23 and 42, are errors of the delivery.
const WORLD: [&str; 13] =
    ["08", "28", "3D000", "40", "53", "57", "58", "25006", "25P03", "25P04", "55P03", "55006", "F0"];

/// Returns `true` if an error with this code may be temporary.
pub fn is_world(code: &str) -> bool {
    WORLD.iter().any(|prefix| code.starts_with(prefix))
}

/// Returns `true` if the server refuses the login: a wrong role, password or database.
pub fn is_refusal(code: &str) -> bool {
    code.starts_with("28") || code == "3D000"
}

/// Returns `true` if the role lacks a right that the statement needs.
pub fn is_denial(code: &str) -> bool {
    code == "42501"
}

/// Returns `true` if the rows are at fault: values and constraints. Otherwise it is the statement, or an object that
/// it uses.
pub fn is_of_rows(code: &str) -> bool {
    code.starts_with("22") || code.starts_with("23")
}

/// Returns our text for an error about data (class 22), because Postgres' message quotes the data. Other classes name
/// only tables, columns and constraints; `raise exception` (P0001) has the text of the table's owner, which is shown.
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
