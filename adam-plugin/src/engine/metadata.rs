//! What documents can be filtered by, and what is odd about filters.

use std::sync::Arc;

use tantivy::Searcher;
use tantivy::collector::Count;
use tantivy::query::{BooleanQuery, ExistsQuery, Query, TermQuery};
use tantivy::schema::{Field, FieldType, IndexRecordOption};

use super::Engine;
use super::known_names::{MetadataName, MetadataNames};
use crate::error::PluginError;
use crate::filter::{self, Filter, FilterWarning};

/// Most values, names times documents, that are gone through to count the documents of each name.
const MAX_COUNTED: u64 = 50_000_000;

impl Engine {
    /// The names that documents can be filtered by. Remembered until the index changes.
    ///
    /// # Errors
    /// tantivy's.
    pub fn metadata_names(&self) -> Result<Arc<MetadataNames>, PluginError> {
        let searcher = self.reader.searcher();
        self.names.of(searcher.generation().generation_id(), || self.read_names(&searcher))
    }

    /// What a user should know about filters that can be searched: names and values that no document has, ranges that are
    /// reversed or pass over texts that cannot be compared. At most 64 conditions are looked into.
    ///
    /// # Errors
    /// When a filter does not fit the index.
    pub fn filter_warnings(&self, filters: &[Filter]) -> Result<Vec<FilterWarning>, PluginError> {
        if filters.is_empty() {
            return Ok(Vec::new());
        }
        filter::warnings(filters, &self.index, &self.reader.searcher(), self.manifest.layout.metadata.as_deref())
    }

    fn read_names(&self, searcher: &Searcher) -> Result<MetadataNames, PluginError> {
        let schema = self.index.schema();
        let mut out = MetadataNames::default();
        for name in self.own_fields() {
            let entry = schema.get_field_entry(schema.get_field(&name)?);
            let kind = match entry.field_type() {
                FieldType::Str(_) => "text",
                FieldType::U64(_) | FieldType::I64(_) | FieldType::F64(_) => "numbers",
                FieldType::Bool(_) => "true or false",
                FieldType::Date(_) => "dates",
                FieldType::Facet(_) => "facets",
                FieldType::IpAddr(_) => "IP addresses",
                FieldType::JsonObject(_) => {
                    self.read_metadata(searcher, schema.get_field(&name)?, &[name], &mut out)?;
                    continue;
                }
                _ => continue,
            };
            if entry.is_indexed() {
                let exists = ExistsQuery::new(name.clone(), false);
                let documents = if entry.is_fast() { Some(self.count(searcher, Box::new(exists))?) } else { None };
                out.names.push(MetadataName { name, kinds: vec![kind], documents });
            }
        }
        if let Some(field) = self.manifest.layout.metadata.as_ref().and_then(|name| schema.get_field(name).ok()) {
            self.read_metadata(searcher, field, &[], &mut out)?;
        }
        Ok(out)
    }

    /// The names in a JSON field; `before` are the keys that a filter needs in front of them.
    fn read_metadata(
        &self,
        searcher: &Searcher,
        field: Field,
        before: &[String],
        out: &mut MetadataNames,
    ) -> Result<(), PluginError> {
        let schema = self.index.schema();
        let entry = schema.get_field_entry(field);
        let FieldType::JsonObject(options) = entry.field_type() else { return Ok(()) };
        if !options.is_indexed() {
            return Ok(());
        }
        let (names, has_more) = filter::names(searcher, field)?;
        out.has_more |= has_more;
        let is_counted = options.is_fast() && searcher.num_docs().saturating_mul(names.len() as u64) <= MAX_COUNTED;
        for (keys, types) in names {
            let contents = filter::Contents::read(searcher, field, entry.name(), options, std::slice::from_ref(&keys))?;
            // Names that only deleted documents have are left out.
            let documents = if is_counted {
                let exists = ExistsQuery::new(filter::column(entry.name(), &keys), false);
                Some(self.count(searcher, Box::new(exists))?).filter(|count| *count > 0)
            } else {
                None
            };
            if documents.is_some() || !is_counted {
                let kinds = filter::kinds(types, &contents.texts);
                let name = filter::written(&[before, keys.as_slice()].concat());
                out.names.push(MetadataName { name, kinds, documents });
            }
        }
        Ok(())
    }

    /// Documents that match and are not further chunks of others.
    fn count(&self, searcher: &Searcher, query: Box<dyn Query>) -> Result<u64, PluginError> {
        let query: Box<dyn Query> = match self.fields.chunks {
            Some(chunks) => {
                let documents = TermQuery::new(chunks.documents(), IndexRecordOption::Basic);
                Box::new(BooleanQuery::intersection(vec![Box::new(documents), query]))
            }
            None => query,
        };
        Ok(searcher.search(query.as_ref(), &Count)? as u64)
    }
}
