//! Reads `--table T:TIME_COLUMN[:KEY]`.

use std::str::FromStr;

/// What a number in a time column counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Seconds,
    Millis,
    Micros,
}

impl Unit {
    /// Returns how many microseconds one is.
    pub fn micros(self) -> i64 {
        match self {
            Self::Seconds => 1_000_000,
            Self::Millis => 1_000,
            Self::Micros => 1,
        }
    }
}

/// A table, its time column, and the columns that tell its rows apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSpec {
    pub schema: Option<String>,
    pub table: String,
    pub time: String,
    pub unit: Option<Unit>,
    pub key: Vec<String>,
}

const FORM: &str = "Write it like orders:created_at, public.orders:created_at:id or events:at@ms:id,line";

impl FromStr for TableSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let (table, time, key) = match parts[..] {
            [table, time] => (table, time, ""),
            [table, time, key] => (table, time, key),
            _ => return Err(format!("it is no table with a time column. {FORM}")),
        };
        let (time, unit) = match time.split_once('@') {
            None => (time, None),
            Some((time, "s")) => (time, Some(Unit::Seconds)),
            Some((time, "ms")) => (time, Some(Unit::Millis)),
            Some((time, "us")) => (time, Some(Unit::Micros)),
            Some((_, other)) => return Err(format!("@{other} is none of @s, @ms and @us. {FORM}")),
        };
        let (schema, table) = match table.split_once('.') {
            Some((schema, table)) => (Some(schema.to_owned()), table),
            None => (None, table),
        };
        let key: Vec<String> = key.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        if table.is_empty() || time.is_empty() || schema.as_deref() == Some("") {
            return Err(format!("a name is empty. {FORM}"));
        }
        Ok(Self { schema, table: table.to_owned(), time: time.to_owned(), unit, key })
    }
}

impl TableSpec {
    /// Returns the name as it was given.
    pub fn name(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{schema}.{}", self.table),
            None => self.table.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_time_and_perhaps_a_key() {
        let spec: TableSpec = "shop.orders:at@ms:id,line".parse().expect("table");
        assert_eq!((spec.name().as_str(), spec.time.as_str(), spec.unit), ("shop.orders", "at", Some(Unit::Millis)));
        assert_eq!(spec.key, ["id", "line"]);
        assert_eq!("t:at".parse::<TableSpec>().expect("table").key, Vec::<String>::new());
        for bad in ["", "t", "t:", ":at", "t:at@h", "a:b:c:d", ".t:at"] {
            assert!(bad.parse::<TableSpec>().is_err(), "{bad}");
        }
    }
}
