//! Names of fields and of metadata, as columns whose values can be read.

use tantivy::Searcher;
use tantivy_dense::hybrid::{FieldValue, Number, ReadText, ValueField};

use crate::engine::Engine;
use crate::error::PluginError;
use crate::filter;

/// What the values of a field are read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Whatever they are.
    Any,
    /// Numbers, those in text included.
    Numbers,
    /// Dates, those in text included.
    Dates,
}

impl Engine {
    /// The columns behind a name, as a filter has it.
    ///
    /// # Errors
    /// [`PluginError::Field`] where there is no such field or no document has the name, or where its values cannot be read by document.
    pub(super) fn value_field(&self, searcher: &Searcher, name: &str, kind: Kind) -> Result<ValueField, PluginError> {
        let columns = self.columns_of(searcher, name)?;
        let field = ValueField::columns(name, columns.names);
        let read: Option<ReadText> = match kind {
            // Metadata keeps texts as texts; a field of the schema has the type that it has.
            Kind::Numbers if columns.is_metadata => {
                Some(|text| filter::number(text).and_then(Number::of).map(FieldValue::Number))
            }
            Kind::Dates if columns.is_metadata => Some(|text| filter::instant(text).map(FieldValue::Date)),
            _ => None,
        };
        Ok(match read {
            Some(read) => field.read_text(read),
            None => field,
        })
    }

    /// The columns of a name, once it was seen that some document has it.
    pub(super) fn columns_of(&self, searcher: &Searcher, name: &str) -> Result<filter::ColumnNames, PluginError> {
        let columns = filter::columns_of(&self.index, self.manifest.layout.metadata.as_deref(), name)
            .map_err(|problem| PluginError::field(shown(name), problem))?;
        if columns.is_metadata && searcher.num_docs() > 0 && !has_any(searcher, &columns.names)? {
            let names = self.metadata_names()?;
            let known: Vec<String> = names.names.iter().map(|name| name.name.clone()).collect();
            let near = filter::nearest(name, &known);
            let offered: Vec<String> = match near.is_empty() {
                true => known.into_iter().take(10).collect(),
                false => near,
            };
            let offered: Vec<String> = offered.iter().map(|name| format!("`{}`", shown(name))).collect();
            let there = if offered.is_empty() { "nothing".to_owned() } else { offered.join(", ") };
            return Err(PluginError::field(shown(name), format!("is in no document; there are {there}")));
        }
        Ok(columns)
    }
}

/// Whether a segment has one of some columns.
pub(super) fn has_any(searcher: &Searcher, names: &[String]) -> Result<bool, PluginError> {
    for reader in searcher.segment_readers() {
        for name in names {
            if !reader.fast_fields().dynamic_column_handles(name)?.is_empty() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn shown(name: &str) -> String {
    name.chars().take(100).collect()
}
