//! All documents that a search can reach, as a query.

use tantivy::query::{BooleanQuery, EmptyQuery, Query};

use super::Hybrid;
use crate::DenseError;

impl Hybrid {
    /// Every document that the ranking can reach, whatever its score: what some arm finds, where the filter holds. For counts, facets and
    /// aggregations; its scores mean nothing.
    ///
    /// # Errors
    /// [`DenseError::Fusion`] for an arm of one's own that does not say what it finds ([`Ranking::matching`]).
    ///
    /// ```
    /// # fn main() -> Result<(), tantivy_dense::DenseError> {
    /// # use tantivy::aggregation::AggregationCollector;
    /// # use tantivy::query::AllQuery;
    /// # use tantivy::schema::{FAST, Schema};
    /// # use tantivy_dense::{Arm, Dense, Hybrid, VectorField, VectorOptions};
    /// # let mut schema = Schema::builder();
    /// # schema.add_u64_field("year", FAST);
    /// # VectorField::add_to(&mut schema, "vector", VectorOptions::cosine(2))?;
    /// # let dense = Dense::new();
    /// # let index = dense.index_builder().schema(schema.build()).create_in_ram()?;
    /// # let searcher = dense.reader(&index)?.searcher();
    /// # let hybrid = Hybrid::new().arm("words", Arm::text(Box::new(AllQuery)), 1.0);
    /// let facets = serde_json::from_str(r#"{"years": {"terms": {"field": "year"}}}"#).map_err(tantivy::TantivyError::from)?;
    /// let counts = searcher.search(&hybrid.matching()?, &AggregationCollector::from_aggs(facets, Default::default()))?;
    /// # assert_eq!(counts.0.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn matching(&self) -> Result<Box<dyn Query>, DenseError> {
        let weightless = self.arms.iter().all(|arm| arm.weight == 0.0);
        let mut arms = Vec::new();
        for arm in self.arms.iter().filter(|arm| weightless || arm.weight > 0.0) {
            let Some(query) = arm.arm.matching() else {
                let why = format!(
                    "the arm `{}` does not say which documents it finds, so that they cannot be counted",
                    arm.name
                );
                return Err(DenseError::Fusion { why });
            };
            arms.push(query);
        }
        let found: Box<dyn Query> = match arms.len() {
            0 => Box::new(EmptyQuery),
            1 => arms.remove(0),
            _ => Box::new(BooleanQuery::union(arms)),
        };
        Ok(match &self.filter {
            Some(filter) => Box::new(BooleanQuery::intersection(vec![found, filter.box_clone()])),
            None => found,
        })
    }
}
