//! Numbers on the command line, with an error message that shows a correct one.

use std::str::FromStr;

pub(super) fn parse<T: FromStr>(text: &str) -> Result<T, String> {
    text.trim().parse().map_err(|_| "write a whole number, like 20".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_whole_and_fits() {
        assert_eq!((parse::<i64>("6"), parse::<u32>(" 20 ")), (Ok(6), Ok(20)));
        for wrong in ["", "six", "1.5", "-1", "4294967296"] {
            assert_eq!(parse::<u32>(wrong), Err("write a whole number, like 20".to_owned()), "{wrong}");
        }
    }
}
