//! SQL expressions for a column: its value, the binary form of a value, and the comparison of two values.

use super::catalog::Column;
use super::encode::{ColumnEncoding, Comparison, XML};
use crate::pg::quote;

impl Column {
    /// Returns the column's value of the row that is called `t`, for use with functions and operators of its type.
    pub(super) fn value(&self) -> String {
        match &self.cast {
            Some(base) => format!("t.{}::{base}", quote::ident(&self.name)),
            None => format!("t.{}", quote::ident(&self.name)),
        }
    }

    /// Returns the expression for the binary form of a value. The binary form of XML leaves out the declaration, so
    /// the value's text is sent instead. A value that declares another encoding than UTF-8 is sent in binary form, as
    /// its text would be converted.
    pub(super) fn sent(&self, value: &str) -> String {
        let send = &self.send;
        if !self.is_xml() {
            return format!("{send}({value})");
        }
        let text = format!("{value}::pg_catalog.text");
        format!(
            r#"case when {text} operator(pg_catalog.~*) '^<\?xml[^>]*encoding' and {text} operator(pg_catalog.!~*) '^<\?xml[^>]*encoding\s*=\s*.utf-?8\M' then {send}({value}) else pg_catalog.textsend({text}) end"#
        )
    }

    /// Returns `true` if the type's own binary form leaves out a part of the text.
    pub(super) fn is_xml(&self) -> bool {
        matches!(&self.wire, ColumnEncoding::ServerCast(asked) if asked.type_name == XML)
    }

    /// Returns how two values of the column are compared.
    pub(super) fn comparison(&self) -> Comparison {
        if self.loose { Comparison::Bytes } else { self.wire.comparison() }
    }
}
