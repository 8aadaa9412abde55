//! Maps fields to columns by name: from a header, from `columns=`, or from the table itself. Pure.

use super::dialect::{Edge, OpRule};
use super::error::Flaw;
use super::listed::{self, Listed, alike};

use super::{Column, File, Shape};

/// Meaning of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// `befores`: a B is an op here, and the row its update's before-image
    Op {
        befores: bool,
    },
    /// A column of the table, by its place there.
    Column(usize),
    /// Old value of this column.
    Before(usize),
    Passed,
}

/// The op column of Qlik Replicate, and how its other extra columns begin.
const QLIK_OP: &str = "header__change_oper";
const QLIK: &str = "header__";

/// Returns the roles of the fields of a header.
pub(super) fn from_header(shape: &Shape, line: u64, names: &[String]) -> Result<Vec<Role>, Flaw> {
    if !names.iter().any(|name| column(shape, name).is_some()) {
        // it is hardly a header: its words may be a row's values, so they are not repeated
        return Err(Flaw::NoHeader { line, table: name_of(shape), span: span(&shape.columns) });
    }
    let op = header_op(shape, line, names)?;
    let twice = twice(names.iter().enumerate().filter(|(place, _)| Some(*place) != op).map(|(_, name)| name.as_str()));
    if !twice.is_empty() {
        return Err(Flaw::Twice { line, names: and(&shown(shape, names, &twice)) });
    }
    match_names(shape, names, op).map_err(|drift| drift.flaw(shape, line, names))
}

/// Returns some of a header's names for a message: unknown names are replaced by their positions, unless most of the
/// others are known. A data row that is mistaken for a header may have a column's name among its values, and its
/// other cells must not be shown.
fn shown(shape: &Shape, names: &[String], some: &[String]) -> Vec<String> {
    let is_known = |name: &String| alike(name, "Op") || column(shape, name).or(extra(shape, name).map(|_| 0)).is_some();
    let is_header = names.iter().filter(|name| is_known(name)).count() * 2 > names.len();
    let place = |name: &String| names.iter().position(|other| other == name).map_or(0, |place| place + 1);
    let show = |name: &String| match is_header || column(shape, name).is_some() {
        true => name.clone(),
        false => format!("field {}", place(name)),
    };
    some.iter().map(show).collect()
}

/// Returns `true` if a row looks like a header that was not announced: it has exactly the columns' names.
pub(super) fn looks_like_header(shape: &Shape, names: &[String]) -> bool {
    let op = names.first().filter(|name| alike(name, "Op")).map(|_| 0);
    let behind_op = &names[op.map_or(0, |_| 1)..];
    let is_listed = |item: &Listed| {
        [names, behind_op].iter().any(|names| {
            names.len() == item.names.len()
                && names.iter().zip(&item.names).all(|(name, listed)| listed == listed::PASSED || alike(name, listed))
        }) && item.names.iter().any(|name| name != listed::PASSED)
    };
    match listed::of_table(&shape.dialect.columns, &shape.table) {
        Some(item) if is_listed(item) => true,
        _ => {
            let of_table = |op| !shape.columns.is_empty() && match_names(shape, names, op).is_ok();
            of_table(None) || (op.is_some() && of_table(op))
        }
    }
}

/// Returns the roles of the fields that `columns=` lists, with an operation where the item has one and the rule
/// allows it.
pub(super) fn from_list(shape: &Shape, item: &Listed) -> Result<Vec<Role>, Flaw> {
    let mut roles: Vec<Option<Role>> = item.names.iter().map(|name| listed_role(shape, name)).collect();
    let has_op = shape.dialect.op != OpRule::Never && alike(&item.names[0], "Op");
    if has_op {
        roles[0] = Some(Role::Op { befores: false });
    }
    let mut faults = Vec::new();
    let named = |(name, role): (&String, &Option<Role>)| role.is_none().then(|| name.clone());
    let unknown: Vec<String> = item.names.iter().zip(&roles).filter_map(named).collect();
    if !unknown.is_empty() {
        faults.push(format!("the table lacks {}", and(&unknown)));
    }
    let roles: Vec<Role> = roles.into_iter().flatten().collect();
    let lists = |role: Role| roles.iter().filter(|other| **other == role).count();
    let columns = || shape.columns.iter().enumerate();
    let twice = columns().filter(|(index, _)| lists(Role::Column(*index)) > 1 || lists(Role::Before(*index)) > 1);
    let twice: Vec<String> = twice.map(|(_, column)| column.name.clone()).collect();
    if !twice.is_empty() {
        faults.push(format!("it names {} twice", and(&twice)));
    }
    let keys = columns().filter(|(index, column)| column.key && lists(Role::Column(*index)) == 0);
    let keys: Vec<String> = keys.map(|(_, column)| column.name.clone()).collect();
    if !keys.is_empty() {
        faults.push(format!("it lacks {} of the table's key", and(&keys)));
    }
    match faults.is_empty() {
        true if has_op && op_is_said(shape) == Some(false) => Ok(roles[1..].to_vec()),
        true => Ok(roles),
        false => Err(Flaw::Listed { table: name_of(shape), span: span(&shape.columns), faults: faults.join("; ") }),
    }
}

/// Returns the roles of fields without names: the table's columns in its order, and the timestamp at its end.
pub(super) fn from_table(shape: &Shape) -> Result<Vec<Role>, Flaw> {
    let all = (0..shape.columns.len()).map(Role::Column);
    let Some(timestamp) = &shape.dialect.timestamp else { return Ok(all.collect()) };
    let Some(edge) = timestamp.place else { return Err(Flaw::NoPlace { table: name_of(shape) }) };
    let role = column(shape, &timestamp.name).map_or(Role::Passed, Role::Column);
    let rest = all.filter(|other| *other != role);
    Ok(match edge {
        Edge::First => std::iter::once(role).chain(rest).collect(),
        Edge::Last => rest.chain(std::iter::once(role)).collect(),
    })
}

/// Returns `true` or `false` if FEED says whether files of this kind have an operation column.
pub(super) fn op_is_said(shape: &Shape) -> Option<bool> {
    match shape.dialect.op {
        OpRule::Auto => None,
        OpRule::Always => Some(true),
        OpRule::Changes => Some(shape.file == File::Changes),
        OpRule::Never => Some(false),
    }
}

/// Returns the differences between the column names of another part and those of the first, or `None` if there are
/// none.
pub(super) fn differences(first: &[String], other: &[String]) -> Option<String> {
    let lacking = |from: &[String], names: &[String]| -> Vec<String> {
        names.iter().filter(|name| !from.contains(name)).cloned().collect()
    };
    let (more, fewer) = (lacking(first, other), lacking(other, first));
    let more = (!more.is_empty()).then(|| format!("it has {}, which the first lacks", and(&more)));
    let fewer = (!fewer.is_empty()).then(|| format!("the first has {}, which it lacks", and(&fewer)));
    let both: Vec<String> = more.into_iter().chain(fewer).collect();
    (!both.is_empty()).then(|| both.join("; "))
}

/// Returns the table's name for messages.
pub(super) fn name_of(shape: &Shape) -> String {
    format!("{}.{}", shape.table.0, shape.table.1)
}

/// Returns the first and the last column's name, for messages.
pub(super) fn span(columns: &[Column]) -> String {
    match columns {
        [] => "no columns".to_owned(),
        [only] => only.name.clone(),
        [first, last] => format!("{}, {}", first.name, last.name),
        [first, .., last] => format!("{} … {}", first.name, last.name),
    }
}

pub(super) fn and(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [only] => only.clone(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

/// Returns the position of the operation in a header. `Op` may also be a column of the table; then a second one, or a
/// rule, makes the first one the operation.
fn header_op(shape: &Shape, line: u64, names: &[String]) -> Result<Option<usize>, Flaw> {
    let said = op_is_said(shape);
    let mut ops = names.iter().enumerate().filter(|(_, name)| alike(name, "Op")).map(|(place, _)| place);
    let (first, more) = (ops.next(), ops.next().is_some());
    let is_column = shape.columns.iter().any(|column| alike(&column.name, "Op")) && !more && said != Some(true);
    let qlik = names.iter().position(|name| name == QLIK_OP).filter(|_| column(shape, QLIK_OP).is_none());
    let rule = match shape.dialect.op {
        OpRule::Always => "always",
        OpRule::Changes => "changes",
        _ => "never",
    };
    match (qlik.or(first.filter(|_| !is_column)), said) {
        (None, Some(true)) => Err(Flaw::NoOpInHeader { line, rule }),
        (Some(place), Some(false)) => Err(Flaw::OpInHeader { line, name: names[place].clone(), rule }),
        (place, _) => Ok(place),
    }
}

/// Returns the table's column of that name: the exact one, else the only one if case is ignored.
fn column(shape: &Shape, name: &str) -> Option<usize> {
    let columns = &shape.columns;
    columns.iter().position(|column| column.name == name).or_else(|| {
        let mut alike = (0..columns.len()).filter(|index| alike(&columns[*index].name, name));
        alike.next().filter(|_| alike.next().is_none())
    })
}

/// Returns the role of a name that is not a column: a before-image, or a field to ignore.
fn extra(shape: &Shape, name: &str) -> Option<Role> {
    let dialect = &shape.dialect;
    if let Some(of) = dialect.before_image_prefix.as_deref().and_then(|prefix| name.strip_prefix(prefix)) {
        return Some(column(shape, of).map_or(Role::Passed, Role::Before));
    }
    let is_timestamp = dialect.timestamp.as_ref().is_some_and(|timestamp| alike(&timestamp.name, name));
    match name {
        QLIK_OP => Some(Role::Op { befores: true }),
        _ => (is_timestamp || name.starts_with(QLIK)).then_some(Role::Passed),
    }
}

fn listed_role(shape: &Shape, name: &str) -> Option<Role> {
    if name == listed::PASSED {
        return Some(Role::Passed);
    }
    let role = column(shape, name).map(Role::Column).or_else(|| extra(shape, name));
    let is_before = shape.dialect.before_image_prefix.as_deref().is_some_and(|prefix| name.starts_with(prefix));
    // a before-image of nothing is a slip of the pen
    role.filter(|role| !(is_before && *role == Role::Passed))
}

/// Columns that only the file has, and those that only the table has.
struct Drift {
    file: Vec<String>,
    table: Vec<String>,
}

impl Drift {
    fn flaw(self, shape: &Shape, line: u64, names: &[String]) -> Flaw {
        let table = name_of(shape);
        let (generated, file): (Vec<_>, Vec<_>) =
            self.file.into_iter().partition(|name| shape.generated.iter().any(|other| alike(other, name)));
        let generated = (!generated.is_empty()).then(|| {
            let names = and(&generated);
            format!("the file has {names}, which the table generates and no file can fill: pass it over with - in FEED columns=")
        });
        let file = shown(shape, names, &file);
        let file = (!file.is_empty()).then(|| format!("the file has {}, which the table lacks", and(&file)));
        let file = generated.into_iter().chain(file);
        let lacks =
            (!self.table.is_empty()).then(|| format!("the table has {}, which the file lacks", and(&self.table)));
        let differences = file.chain(lacks).collect::<Vec<_>>().join("; ");
        Flaw::Drift { line, table, differences }
    }
}

/// Gives every name its role: exact names first, so that those that differ in case take only what is left.
fn match_names(shape: &Shape, names: &[String], op: Option<usize>) -> Result<Vec<Role>, Drift> {
    let mut roles: Vec<Option<Role>> = vec![None; names.len()];
    let mut taken = vec![false; shape.columns.len()];
    if let Some(op) = op {
        roles[op] = Some(Role::Op { befores: names[op] == QLIK_OP });
    }
    let exact = |name: &String| shape.columns.iter().position(|column| column.name == *name);
    let loose = |name: &String| column(shape, name);
    for find in [&exact as &dyn Fn(&String) -> Option<usize>, &loose] {
        for (role, name) in roles.iter_mut().zip(names).filter(|(role, _)| role.is_none()) {
            if let Some(index) = find(name).filter(|index| !taken[*index]) {
                (taken[index], *role) = (true, Some(Role::Column(index)));
            }
        }
    }
    for (role, name) in roles.iter_mut().zip(names).filter(|(role, _)| role.is_none()) {
        *role = extra(shape, name);
    }
    let unknown = names.iter().zip(&roles).filter(|(_, role)| role.is_none()).map(|(name, _)| name.clone());
    let is_missing = |column: &Column, taken: bool| !taken && (column.key || !column.has_default);
    let missing = shape.columns.iter().zip(&taken).filter(|(column, taken)| is_missing(column, **taken));
    let missing = missing.map(|(column, _)| column.name.clone());
    let drift = Drift { file: unknown.collect(), table: missing.collect() };
    match drift.file.is_empty() && drift.table.is_empty() {
        true => Ok(roles.into_iter().flatten().collect()),
        false => Err(drift),
    }
}

/// Returns the names that occur more than once.
fn twice<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut all: Vec<&str> = names.collect();
    all.sort_unstable();
    let mut twice: Vec<String> = all.windows(2).filter(|two| two[0] == two[1]).map(|two| two[0].to_owned()).collect();
    twice.dedup();
    twice
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
