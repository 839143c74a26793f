//! Hits in groups: one, or several, for each value of a field.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tantivy::Searcher;
use tantivy::query::{BooleanQuery, Query, TermQuery};
use tantivy::schema::IndexRecordOption;
use tantivy_dense::hybrid::{FieldValue, FusedHit, GroupBy, GroupCounts, GroupTotals, Hybrid, Number};

use super::fields::Kind;
use super::named::named_number;
use crate::engine::Engine;
use crate::engine::response::HitGroup;
use crate::error::PluginError;

/// One hit, or several, for each value of a field.
///
/// Groups come in the order of their best hits. A document without a value is a group of its own, and of several values the first
/// counts. The further hits of a group are the best of those in the window in which its first was found. As text: `brand`, or `brand:3` for
/// three hits of each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Grouping {
    /// A field, or a name in metadata, as a filter has it.
    pub field: String,
    /// Most hits of a group.
    #[serde(default = "one")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, default = 1))]
    pub size: usize,
}

fn one() -> usize {
    1
}

impl Grouping {
    /// One hit for each value of a field.
    pub fn new(field: impl Into<String>) -> Self {
        Self { field: field.into(), size: 1 }
    }

    /// Most hits of a group.
    #[must_use]
    pub fn size(mut self, hits: usize) -> Self {
        self.size = hits;
        self
    }
}

impl FromStr for Grouping {
    type Err = PluginError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (field, size) = named_number(text).unwrap_or((text, 1));
        if field.trim().is_empty() || size == 0 {
            let problem = format!(
                "`{text}` names no groups; write a field, or a field and a number of hits of 1 or more, such as brand:3"
            );
            return Err(PluginError::Query { problem });
        }
        Ok(Self { field: field.to_owned(), size })
    }
}

/// Which groups are wanted.
pub(in crate::engine) struct GroupPage {
    pub(in crate::engine) offset: usize,
    pub(in crate::engine) top: usize,
    /// Whether all groups are counted.
    pub(in crate::engine) total: bool,
    /// Whether a least score leaves some out.
    pub(in crate::engine) has_least: bool,
}

/// Hits in groups, in a row.
pub(in crate::engine) struct Grouped {
    pub(in crate::engine) hits: Vec<FusedHit>,
    /// The group of each hit.
    pub(in crate::engine) groups: Vec<HitGroup>,
    /// How many groups there are on all pages, if asked for.
    pub(in crate::engine) total: Option<u64>,
}

impl Engine {
    /// The groups of a page.
    pub(in crate::engine) fn grouped(
        &self,
        searcher: &Searcher,
        grouping: &Grouping,
        hybrid: &Hybrid,
        page: &GroupPage,
    ) -> Result<Grouped, PluginError> {
        let by = GroupBy::new(self.value_field(searcher, &grouping.field, Kind::Any)?).size(grouping.size);
        let groups = hybrid.groups(searcher, &by, page.offset, page.top)?;
        let values: Vec<FieldValue> = groups.iter().filter_map(|group| group.value.clone()).collect();
        let counts = GroupCounts::new(searcher, &by, values)?.total(page.total);
        let mut totals: GroupTotals = searcher.search(self.matching(hybrid)?.as_ref(), &counts)?;
        if page.has_least && page.total {
            totals.groups = Some(hybrid.groups(searcher, &by, 0, usize::MAX)?.len() as u64);
        }
        let mut grouped = Grouped { hits: Vec::new(), groups: Vec::new(), total: totals.groups };
        for (rank, group) in (page.offset + 1..).zip(groups) {
            let documents = group.value.as_ref().map_or(1, |value| totals.documents.get(value).copied().unwrap_or(0));
            let of = HitGroup { rank, value: group.value.as_ref().map(json), documents };
            for hit in group.hits {
                grouped.groups.push(of.clone());
                grouped.hits.push(hit);
            }
        }
        Ok(grouped)
    }

    /// All documents that a search can reach; the further chunks of documents are none.
    pub(in crate::engine) fn matching(&self, hybrid: &Hybrid) -> Result<Box<dyn Query>, PluginError> {
        let matching = hybrid.matching()?;
        Ok(match self.fields.chunks {
            Some(chunks) => {
                let documents = TermQuery::new(chunks.documents(), IndexRecordOption::Basic);
                Box::new(BooleanQuery::intersection(vec![Box::new(documents), matching]))
            }
            None => matching,
        })
    }
}

/// A value as JSON.
fn json(value: &FieldValue) -> serde_json::Value {
    match value {
        FieldValue::Bool(truth) => (*truth).into(),
        FieldValue::Number(Number::Whole(whole)) => match (i64::try_from(*whole), u64::try_from(*whole)) {
            (Ok(whole), _) => whole.into(),
            (_, Ok(whole)) => whole.into(),
            _ => (*whole as f64).into(),
        },
        FieldValue::Number(Number::Real(real)) => (*real).into(),
        other => other.to_string().into(),
    }
}
