//! Filters put together.

use std::sync::Arc;

use tantivy::query::{AllQuery, BooleanQuery, Occur, Query};

/// What matches the filter before, where there is one, and the next.
pub(crate) fn both(before: Option<&dyn Query>, next: Box<dyn Query>) -> Arc<dyn Query> {
    let next = everything_but(next);
    Arc::from(match before {
        Some(before) => Box::new(BooleanQuery::intersection(vec![before.box_clone(), next])),
        None => next,
    })
}

/// A filter in which each Boolean query that only excludes leaves everything else. tantivy's own such query matches nothing.
pub(crate) fn everything_but(filter: Box<dyn Query>) -> Box<dyn Query> {
    let Some(boolean) = filter.downcast_ref::<BooleanQuery>() else { return filter };
    let mut clauses: Vec<(Occur, Box<dyn Query>)> =
        boolean.clauses().iter().map(|(occur, clause)| (*occur, everything_but(clause.box_clone()))).collect();
    if !clauses.is_empty() && clauses.iter().all(|(occur, _)| *occur == Occur::MustNot) {
        clauses.push((Occur::Must, Box::new(AllQuery)));
    }
    Box::new(BooleanQuery::with_minimum_required_clauses(clauses, boolean.get_minimum_number_should_match()))
}
