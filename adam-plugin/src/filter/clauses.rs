//! Queries joined to one.

use tantivy::query::{AllQuery, BooleanQuery, EmptyQuery, Occur, Query};

/// Clauses that all hold. One that only excludes needs something to exclude from: by itself, tantivy finds nothing for it.
pub(super) fn all_of(mut clauses: Vec<(Occur, Box<dyn Query>)>) -> Box<dyn Query> {
    if clauses.iter().all(|(occur, _)| *occur == Occur::MustNot) {
        clauses.push((Occur::Must, Box::new(AllQuery)));
    }
    match clauses.pop() {
        Some((Occur::Must, only)) if clauses.is_empty() => only,
        last => {
            clauses.extend(last);
            Box::new(BooleanQuery::new(clauses))
        }
    }
}

pub(super) fn intersection(queries: Vec<Box<dyn Query>>) -> Box<dyn Query> {
    all_of(queries.into_iter().map(|query| (Occur::Must, query)).collect())
}

pub(super) fn union(mut queries: Vec<Box<dyn Query>>) -> Box<dyn Query> {
    match queries.pop() {
        None => Box::new(EmptyQuery),
        Some(only) if queries.is_empty() => only,
        Some(last) => {
            queries.push(last);
            Box::new(BooleanQuery::union(queries))
        }
    }
}
