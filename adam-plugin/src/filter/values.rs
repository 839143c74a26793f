//! Where the values of a name are, for reading them by document.

use tantivy::Index;

use super::Filter;
use super::compile::{Compiler, Target, column, escaped};
use super::expression::{Comparison, Condition, Expression, Path};

/// The columns that hold the values of a name.
pub(crate) struct ColumnNames {
    /// In tantivy's notation.
    pub(crate) names: Vec<String>,
    /// Whether the name is one in metadata, and no field of the schema.
    pub(crate) is_metadata: bool,
}

/// The columns of a name, as a filter has it.
pub(crate) fn columns_of(index: &Index, metadata: Option<&str>, name: &str) -> Result<ColumnNames, String> {
    let schema = index.schema();
    let not_fast =
        |field: &str| format!("is not kept in columns (`{field}` is not FAST), so that its values cannot be read");
    match Compiler::new(index, &schema, metadata)
        .target(&path(name))
        .map_err(|problem| format!("is unknown: {problem}"))?
    {
        Target::Field(_, entry) if !entry.is_fast() => Err(not_fast(entry.name())),
        Target::Field(_, entry) => Ok(ColumnNames { names: vec![escaped(entry.name())], is_metadata: false }),
        Target::Keys { name, options, .. } if !options.is_fast() => Err(not_fast(name)),
        Target::Keys { name, keys, .. } => {
            Ok(ColumnNames { names: keys.iter().map(|keys| column(name, keys)).collect(), is_metadata: true })
        }
    }
}

/// A name as a filter has it, with quotes where it needs them: `maker.city`, `"dc.title"`.
fn path(name: &str) -> Path {
    let quoted = Filter::parse(&format!("{name}:*")).ok();
    match quoted.as_ref().map(Filter::expression) {
        Some(Expression::Condition(Condition { path, comparison: Comparison::Exists, others, .. }))
            if others.is_empty() =>
        {
            path.clone()
        }
        _ => Path::new(name),
    }
}
