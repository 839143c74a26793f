//! Counts beside hits: facets by name, and tantivy's own aggregations.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tantivy::Searcher;
use tantivy::aggregation::agg_req::{Aggregations, validate_aggregation_fields_exist};
use tantivy::aggregation::{AggContextParams, AggregationCollector, AggregationLimitsGuard};
use tantivy::schema::{Facet as Path, FieldType};
use tantivy_dense::hybrid::Hybrid;

use super::named::named_number;
use crate::engine::Engine;
use crate::engine::response::{FacetCounts, FacetValue};
use crate::error::PluginError;

/// Most values of a facet.
pub(super) const MAX_VALUES: usize = 1000;
/// Values of a facet that says nothing of it.
const VALUES: usize = 10;
/// Different values that are counted in each segment: beyond them, counts of rare values may be too low.
const COUNTED: usize = 65_000;
/// Memory that the counting of one search may take, in bytes.
const MEMORY: u64 = 200_000_000;
/// Buckets of all aggregations of a search.
const BUCKETS: u32 = 200_000;

/// The most frequent values of a field among all documents that a search can reach, with their numbers.
///
/// Of several values of a document each counts. As text: `brand`, or `brand:20` for the 20 most frequent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Facet {
    /// A field, or a name in metadata, as a filter has it.
    pub field: String,
    /// Most values; 10 if not said.
    #[serde(default = "values")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 1000, default = 10))]
    pub size: usize,
}

fn values() -> usize {
    VALUES
}

impl Facet {
    /// The ten most frequent values of a field.
    pub fn new(field: impl Into<String>) -> Self {
        Self { field: field.into(), size: VALUES }
    }

    /// Most values, 1 to 1000.
    #[must_use]
    pub fn size(mut self, values: usize) -> Self {
        self.size = values;
        self
    }
}

impl FromStr for Facet {
    type Err = PluginError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (field, size) = named_number(text).unwrap_or((text, VALUES));
        if field.trim().is_empty() || !(1..=MAX_VALUES).contains(&size) {
            let problem = format!(
                "`{text}` is no facet; write a field, or a field and a number of values from 1 to {MAX_VALUES}, such as brand:20"
            );
            return Err(PluginError::Query { problem });
        }
        Ok(Self { field: field.to_owned(), size })
    }
}

/// What was counted beside the hits.
#[derive(Debug, Default)]
pub(in crate::engine) struct Counts {
    pub(in crate::engine) facets: Option<BTreeMap<String, FacetCounts>>,
    pub(in crate::engine) aggregations: Option<Value>,
}

impl Engine {
    /// Counts what the request asks for, over all documents that the search can reach.
    pub(in crate::engine) fn counts(
        &self,
        searcher: &Searcher,
        facets: &[Facet],
        aggregations: Option<&Value>,
        hybrid: &Hybrid,
    ) -> Result<Counts, PluginError> {
        if facets.is_empty() && aggregations.is_none() {
            return Ok(Counts::default());
        }
        // One pass for all: facets by number, aggregations by their names.
        let mut asked = Map::new();
        for (at, facet) in facets.iter().enumerate() {
            for (part, column) in self.columns_of(searcher, &facet.field)?.names.into_iter().enumerate() {
                let terms = json!({"field": column, "size": facet.size, "segment_size": COUNTED});
                asked.insert(format!("facet {at} {part}"), json!({"terms": terms}));
            }
        }
        if let Some(aggregations) = aggregations {
            let Value::Object(named) = aggregations else {
                return Err(refuse(
                    "they must be an object of names, such as {\"years\": {\"terms\": {\"field\": \"year\"}}}",
                ));
            };
            for (name, aggregation) in named {
                let mut aggregation = aggregation.clone();
                self.resolve(searcher, &mut aggregation)?;
                asked.insert(format!("own {name}"), aggregation);
            }
        }
        let mut counted = self.aggregate(searcher, Value::Object(asked), hybrid)?;
        let mut counts = Counts::default();
        for (at, facet) in facets.iter().enumerate() {
            let prefix = format!("facet {at} ");
            let parts = counted.iter().filter(|(name, _)| name.starts_with(&prefix)).map(|(_, result)| result);
            let of_paths = self.is_facet(&facet.field);
            let merged = merged(parts, facet.size, of_paths);
            counts.facets.get_or_insert_default().insert(facet.field.clone(), merged);
        }
        if aggregations.is_some() {
            counted.retain(|name, _| name.starts_with("own "));
            let own = counted.into_iter().map(|(name, result)| (name["own ".len()..].to_owned(), result));
            counts.aggregations = Some(Value::Object(own.collect()));
        }
        Ok(counts)
    }

    fn aggregate(&self, searcher: &Searcher, asked: Value, hybrid: &Hybrid) -> Result<Map<String, Value>, PluginError> {
        let asked: Aggregations = serde_json::from_value(asked).map_err(|fault| refuse(&fault.to_string()))?;
        for reader in searcher.segment_readers().iter().take(1) {
            validate_aggregation_fields_exist(&asked, reader).map_err(|fault| refuse(&fault.to_string()))?;
        }
        let limits = AggregationLimitsGuard::new(Some(MEMORY), Some(BUCKETS));
        let context = AggContextParams::new(limits, self.index.tokenizers().clone());
        let collector = AggregationCollector::from_aggs(asked, context);
        let matching = self.matching(hybrid)?;
        // tantivy panics at some numbers that make no sense.
        let found = PluginError::guarded("an aggregation", || Ok(searcher.search(matching.as_ref(), &collector)));
        let found = match found {
            Ok(Ok(found)) => found,
            Ok(Err(
                fault @ (tantivy::TantivyError::AggregationError(_)
                | tantivy::TantivyError::InvalidArgument(_)
                | tantivy::TantivyError::SchemaError(_)),
            )) => {
                return Err(refuse(&fault.to_string()));
            }
            Ok(Err(fault)) => return Err(fault.into()),
            Err(PluginError::Panicked { problem, .. }) => {
                return Err(refuse(&format!("they cannot be computed: {problem}")));
            }
            Err(fault) => return Err(fault),
        };
        match serde_json::to_value(found) {
            Ok(Value::Object(results)) => Ok(results),
            Ok(_) | Err(_) => {
                Err(PluginError::Internal { problem: "aggregations cannot be written as JSON".to_owned() })
            }
        }
    }

    /// Names of metadata within aggregations as tantivy names their columns: every value of `field`.
    fn resolve(&self, searcher: &Searcher, aggregation: &mut Value) -> Result<(), PluginError> {
        match aggregation {
            Value::Object(members) => {
                for (name, value) in members {
                    match value {
                        Value::String(field) if name == "field" => {
                            let columns = self.columns_of(searcher, field)?.names;
                            let there = columns.iter().find(|column| {
                                super::fields::has_any(searcher, std::slice::from_ref(*column)).unwrap_or(false)
                            });
                            if let Some(column) = there.or(columns.first()) {
                                field.clone_from(column);
                            }
                        }
                        other => self.resolve(searcher, other)?,
                    }
                }
                Ok(())
            }
            Value::Array(items) => items.iter_mut().try_for_each(|item| self.resolve(searcher, item)),
            _ => Ok(()),
        }
    }

    /// Whether a name is a field of facets, whose values are paths.
    fn is_facet(&self, name: &str) -> bool {
        let schema = self.index.schema();
        schema
            .get_field(name)
            .is_ok_and(|field| matches!(schema.get_field_entry(field).field_type(), FieldType::Facet(_)))
    }
}

fn refuse(problem: &str) -> PluginError {
    PluginError::Query { problem: format!("the aggregations: {problem}") }
}

/// The buckets of a facet's columns as one list, the most frequent first; of equal ones, by value.
fn merged<'a>(parts: impl Iterator<Item = &'a Value>, size: usize, of_paths: bool) -> FacetCounts {
    let mut values: Vec<FacetValue> = Vec::new();
    let mut others = 0;
    for part in parts {
        others += part["sum_other_doc_count"].as_u64().unwrap_or(0);
        for bucket in part["buckets"].as_array().into_iter().flatten() {
            let documents = bucket["doc_count"].as_u64().unwrap_or(0);
            let value = value_of(bucket, of_paths);
            match values.iter_mut().find(|known| known.value == value) {
                Some(known) => known.documents += documents,
                None => values.push(FacetValue { value, documents }),
            }
        }
    }
    values.sort_by(|a, b| b.documents.cmp(&a.documents).then_with(|| a.value.to_string().cmp(&b.value.to_string())));
    let cut = values.split_off(size.min(values.len()));
    others += cut.iter().map(|value| value.documents).sum::<u64>();
    FacetCounts { values, others }
}

/// A bucket's value: truth values and dates as they are written, numbers without a needless fraction.
fn value_of(bucket: &Value, of_paths: bool) -> Value {
    if let Some(text) = bucket["key_as_string"].as_str() {
        return match text {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            date => date.into(),
        };
    }
    match &bucket["key"] {
        Value::String(path) if of_paths => Path::from_encoded(path.clone().into_bytes())
            .map_or_else(|_| path.clone().into(), |path| path.to_path_string().into()),
        Value::Number(number) => {
            match number.as_f64().filter(|float| number.is_f64() && float.fract() == 0.0 && float.abs() < 9e15) {
                Some(whole) => (whole as i64).into(),
                None => number.clone().into(),
            }
        }
        other => other.clone(),
    }
}
