//! Positions of a row's cells among its fields. Decided once per file from the roles of its fields and the first
//! row's width, and used for every cell. Pure.

use super::cell::{Cell, Reads, Words};
use super::csv::Record;
use super::dialect::OpRule;
use super::error::Flaw;
use super::head::{self, Role};
use super::listed;
use super::nulls::NullRule;
use super::op::Op;
use super::{File, Shape};

/// The places of a file's cells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Layout {
    width: usize,
    op: Option<OpField>,
    slots: Vec<Slot>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OpField {
    at: usize,
    /// A B is an op here.
    befores: bool,
}

/// The places of one column; `NOWHERE`, where no row has a field, if the file does not have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    field: usize,
    before: usize,
    reads: Reads,
    /// `true` if nulls of the column are evidence of how the feed writes null.
    is_evidence: bool,
}

const NOWHERE: usize = usize::MAX;

/// Operation that a row claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    Op(Op),
    /// The before-image of the update that follows.
    Before,
}

impl Layout {
    pub fn of(roles: &[Role], shape: &Shape) -> Self {
        let at = |role: Role| roles.iter().position(|other| *other == role).unwrap_or(NOWHERE);
        let rule = &shape.nulls.rule;
        let slot = |(index, column): (usize, &super::Column)| Slot {
            field: at(Role::Column(index)),
            before: at(Role::Before(index)),
            reads: Reads {
                keeps_empty: column.text && (!rule.empty_is_null() || column.not_null),
                keeps_words: column.text && *rule == NullRule::Empty,
            },
            is_evidence: !column.text && !column.not_null,
        };
        let op = roles.iter().enumerate().find_map(|(at, role)| match role {
            Role::Op { befores } => Some(OpField { at, befores: *befores }),
            _ => None,
        });
        Self { width: roles.len(), op, slots: shape.columns.iter().enumerate().map(slot).collect() }
    }

    pub fn has_op(&self) -> bool {
        self.op.is_some()
    }

    /// Returns how many fields a row has.
    pub fn width(&self) -> usize {
        self.width
    }

    pub fn cell<'a>(&self, column: usize, record: Record<'a>, words: &Words) -> Cell<'a> {
        let slot = self.slots[column];
        match record.get(slot.field) {
            Some((field, quoted)) => words.cell(field, quoted, slot.reads),
            None => Cell::NotSupplied,
        }
    }

    /// Returns the old value of a column from its before-image field.
    pub fn before<'a>(&self, column: usize, record: Record<'a>, words: &Words) -> Option<Cell<'a>> {
        let slot = self.slots[column];
        let (field, quoted) = record.get(slot.before)?;
        Some(words.cell(field, quoted, slot.reads)).filter(|cell| *cell != Cell::NotSupplied)
    }

    /// Returns a column's field if a null in it shows how the feed writes null.
    pub fn evidence<'a>(&self, column: usize, record: Record<'a>) -> Option<&'a [u8]> {
        let slot = self.slots[column];
        record.get(slot.field).filter(|_| slot.is_evidence).map(|(field, _)| field)
    }

    /// Refuses a row of another width.
    pub fn check_width(&self, record: Record<'_>) -> Result<(), Flaw> {
        let (line, found, expected) = (record.line, record.width(), self.width);
        if found == expected {
            return Ok(());
        }
        let op = if self.has_op() { " and the op" } else { "" };
        let columns = expected - usize::from(self.has_op());
        Err(Flaw::Width { line, found, expected, columns, op })
    }

    /// Refuses a full load's row with a cell that is not supplied.
    pub fn check_supply(&self, record: Record<'_>, words: &Words, shape: &Shape) -> Result<(), Flaw> {
        if shape.file != File::Snapshot || !words.has_no_supply() {
            return Ok(());
        }
        let lacking = |index: &usize| {
            self.slots[*index].field != NOWHERE && self.cell(*index, record, words) == Cell::NotSupplied
        };
        match (0..self.slots.len()).find(lacking) {
            Some(index) => Err(Flaw::NotSupplied { line: record.line, column: shape.columns[index].name.clone() }),
            None => Ok(()),
        }
    }

    /// Returns the operation of a row; a row without one is an insert.
    pub fn claim(&self, record: Record<'_>, file: File) -> Result<Claim, Flaw> {
        let Some(op) = self.op else { return Ok(Claim::Op(Op::Insert)) };
        let (text, line) = (record.field(op.at).0, record.line);
        match (Op::parse(text), file) {
            (Some(Op::Update | Op::Delete), File::Snapshot) => Err(Flaw::OpInSnapshot { line }),
            (Some(op), _) => Ok(Claim::Op(op)),
            (None, File::Changes) if op.befores && text == b"B" => Ok(Claim::Before),
            (None, _) => Err(op.refuse(line)),
        }
    }
}

impl OpField {
    fn refuse(self, line: u64) -> Flaw {
        let field = if self.at == 0 { "the first field".to_owned() } else { format!("field {}", self.at + 1) };
        Flaw::Op { line, field, ops: if self.befores { "I, U, D or B" } else { "I, U or D" } }
    }
}

/// Roles of a file's fields before its first row is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    roles: Vec<Role>,
    /// `columns=` named them
    listed: bool,
}

/// Properties of the first row.
#[derive(Debug, Clone, Copy)]
pub(super) struct First {
    line: u64,
    width: usize,
    starts_with_op: bool,
}

impl First {
    pub fn of(record: Record<'_>) -> Self {
        let starts_with_op = record.width() > 0 && Op::parse(record.field(0).0).is_some();
        Self { line: record.line, width: record.width(), starts_with_op }
    }
}

/// Returns the plan for files without column names, or `None` for files with a header.
pub(super) fn plan(shape: &Shape) -> Result<Option<Plan>, Flaw> {
    match listed::of_table(&shape.dialect.columns, &shape.table) {
        Some(item) => Ok(Some(Plan { roles: head::from_list(shape, item)?, listed: true })),
        None if shape.dialect.header == Some(true) => Ok(None),
        None => Ok(Some(Plan { roles: head::from_table(shape)?, listed: false })),
    }
}

/// Refuses a file with an operation column if the files before it had none, or the reverse, unless FEED decides.
pub(super) fn check_habit(shape: &Shape, line: u64, has_op: bool) -> Result<(), Flaw> {
    let (files, lost, gained) = match shape.file {
        File::Changes => ("change files", "never", "changes"),
        File::Snapshot => ("full loads", "changes", "always"),
    };
    match shape.had_op {
        _ if shape.dialect.op != OpRule::Auto => Ok(()),
        Some(true) if !has_op => Err(Flaw::OpLost { line, files, rule: lost }),
        Some(false) if has_op => Err(Flaw::OpGained { line, files, rule: gained }),
        _ => Ok(()),
    }
}

impl Plan {
    /// Returns the layout for the first row.
    pub fn layout(&self, shape: &Shape, first: First) -> Result<Layout, Flaw> {
        if self.names_op() {
            return self.exactly(shape, first, &self.roles);
        }
        let mut with_op = vec![Role::Op { befores: false }];
        with_op.extend(&self.roles);
        match head::op_is_said(shape) {
            Some(true) => self.exactly(shape, first, &with_op),
            Some(false) => self.exactly(shape, first, &self.roles),
            None => match self.has_op(shape, first)? {
                true => Ok(Layout::of(&with_op, shape)),
                false => Ok(Layout::of(&self.roles, shape)),
            },
        }
    }

    /// Returns `true` if the rows begin with an operation, as the first row shows. In quarantine mode a bad first row
    /// does not count if `columns=` and earlier files say how wide rows are.
    fn has_op(&self, shape: &Shape, first: First) -> Result<bool, Flaw> {
        let is_bad = |had_op: &bool| {
            first.width != self.roles.len() + usize::from(*had_op) || (*had_op && !first.starts_with_op)
        };
        let known = shape.had_op.filter(|_| self.listed && shape.keep_raw).filter(is_bad);
        match (self.by_width(shape, first), known) {
            (Ok(has_op), _) => check_habit(shape, first.line, has_op).map(|()| has_op),
            (Err(_), Some(had_op)) => Ok(had_op),
            (Err(flaw), None) => Err(flaw),
        }
    }

    fn names_op(&self) -> bool {
        self.roles.iter().any(|role| matches!(role, Role::Op { .. }))
    }

    /// Returns the layout of rows whose width is known. In quarantine mode a first row of another width is an
    /// ordinary bad row; otherwise the table may be at fault, and the message says so.
    fn exactly(&self, shape: &Shape, first: First, roles: &[Role]) -> Result<Layout, Flaw> {
        match first.width == roles.len() || shape.keep_raw {
            true => Ok(Layout::of(roles, shape)),
            false => Err(self.misfit(shape, first)),
        }
    }

    /// Returns `true` if the first row has one field more than there are columns, and begins with an operation.
    fn by_width(&self, shape: &Shape, first: First) -> Result<bool, Flaw> {
        match first.width.checked_sub(self.roles.len()) {
            Some(0) if first.starts_with_op && shape.file == File::Changes => {
                let (fields, columns) = (first.width, self.roles.len());
                Err(Flaw::NoRoomForOp { line: first.line, fields, columns, span: head::span(&shape.columns) })
            }
            Some(0) => Ok(false),
            Some(1) if first.starts_with_op => Ok(true),
            Some(1) if shape.file == File::Changes => {
                let (wanted, mut advice) = (self.wanted(shape, ""), self.advice(1));
                advice.push_str(not_aside(shape));
                Err(Flaw::FirstOp { line: first.line, wanted, advice })
            }
            _ => Err(self.misfit(shape, first)),
        }
    }

    fn misfit(&self, shape: &Shape, first: First) -> Flaw {
        let width = self.roles.len();
        let (expected, fields) = match head::op_is_said(shape) {
            _ if self.names_op() => (width, format!(" ({width} fields with the op)")),
            Some(true) => (width + 1, format!(" ({} fields with the op in front)", width + 1)),
            Some(false) => (width, format!(" ({width} fields without an op)")),
            None => {
                let no_op = first.width == width + 1 && !first.starts_with_op;
                let no_op = if no_op { ", which the first field is not" } else { "" };
                let fields = format!(" ({width} fields, or {} with an op in front{no_op})", width + 1);
                (width + usize::from(first.starts_with_op), fields)
            }
        };
        let mut advice = self.advice(first.width as i64 - expected as i64);
        if first.width == 1 && width > 1 {
            advice.push_str(". With one field only, the delimiter may be another: FEED delimiter=");
        }
        if self.listed && self.names_op() && first.width + 1 == expected {
            advice.push_str(". If these files have no op, leave Op out of it or write FEED op=changes");
        }
        advice.push_str(not_aside(shape));
        Flaw::Misfit { line: first.line, found: first.width, wanted: self.wanted(shape, &fields), advice }
    }

    /// Returns the expected number of fields for a message, with `fields` as additional text.
    fn wanted(&self, shape: &Shape, fields: &str) -> String {
        let stamp = self.roles.len() - shape.columns.len().min(self.roles.len());
        let stamp = if stamp > 0 { " and a timestamp column to pass over" } else { "" };
        match self.listed {
            true => format!("FEED columns= names {}{fields}", self.roles.len()),
            false => {
                let columns = shape.columns.len();
                format!("the table has {columns} columns to fill{stamp}{fields}: {}", head::span(&shape.columns))
            }
        }
    }

    /// Returns the advice for rows with `more` fields than columns, or with fewer.
    fn advice(&self, more: i64) -> String {
        let count = more.unsigned_abs();
        let (s, it) = if count == 1 { ("", "it") } else { ("s", "them") };
        let otherwise = "then `deliveries retry`; or name the file's columns with FEED columns=";
        match (self.listed, more > 0) {
            (true, true) => format!("The file has {count} column{s} more: add {it} there, then `deliveries retry`"),
            (true, false) => format!("The file lacks {count} column{s}: take {it} out there, then `deliveries retry`"),
            (false, true) => {
                format!(
                    "The file has {count} column{s} more: add the column{s} to the table (alter table), {otherwise}"
                )
            }
            (false, false) => {
                format!("The file lacks {count} column{s}: drop {it} from the table (alter table), {otherwise}")
            }
        }
    }
}

/// Returns the explanation for a first row that is perhaps just bad but is not quarantined.
fn not_aside(shape: &Shape) -> &'static str {
    match shape.keep_raw {
        true => ". If only this row is bad: with FEED op= it is kept aside like others; without, the first row decides",
        false => "",
    }
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
