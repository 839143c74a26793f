//! How far rounding can move a similarity.

use super::vector::QueryVector;
use crate::Metric;
use crate::rows::{FieldRows, RoundedQuery};

/// How far a similarity computed from rounded rows and a rounded query can be from that of the rows as they are kept.
///
/// For a row r, its rounded copy r', a query q and its rounded copy q': |q.r - q'.r'| = |q.(r - r') + (q - q').r'|
/// <= |q| |r - r'| + |q - q'| |r'|. A little is added for the rounding of sums in f32.
pub(super) struct Bounds<'a> {
    metric: Metric,
    query: &'a RoundedQuery,
    scales: &'a [f32],
    errors: &'a [f32],
    norms: &'a [f32],
    /// Relative error of a sum of products in f32, generously.
    slack: f32,
}

impl<'a> Bounds<'a> {
    pub(super) fn new(rows: &'a FieldRows, query: &'a QueryVector) -> Bounds<'a> {
        Bounds {
            metric: query.metric,
            query: &query.rounded,
            scales: rows.code_scales(),
            errors: rows.code_errors(),
            norms: rows.norms(),
            slack: rows.options().dimension() as f32 * 2e-8 + 1e-6,
        }
    }

    /// The approximate similarity of a row, and how far off it can be.
    #[inline]
    pub(super) fn of(&self, row: u32, product: i32) -> (f32, f32) {
        let at = |values: &[f32]| values.get(row as usize).copied().unwrap_or(0.0);
        self.bound(product, at(self.scales), at(self.errors), at(self.norms))
    }

    /// The most that the similarity of each row can be, for rows that follow each other, the first of which is `first`.
    pub(super) fn uppers(&self, first: u32, products: &[i32], out: &mut Vec<f32>) {
        let first = first as usize;
        fn from(values: &[f32], first: usize, count: usize) -> Option<&[f32]> {
            values.get(first..first.checked_add(count)?)
        }
        let here = |values| from(values, first, products.len());
        out.clear();
        let upper = |product: i32, scale: f32, error: f32, norm: f32| {
            let (approximate, bound) = self.bound(product, scale, error, norm);
            approximate + bound
        };
        // Loops over plain slices, which the compiler makes wide instructions of.
        match (here(self.scales), here(self.errors), here(self.norms)) {
            (Some(scales), Some(errors), Some(norms)) => {
                let rows = products.iter().zip(scales).zip(errors).zip(norms);
                out.extend(rows.map(|(((&product, &scale), &error), &norm)| upper(product, scale, error, norm)));
            }
            // Int8 rows are their own rounded copies, and have no errors.
            (Some(scales), None, Some(norms)) if self.errors.is_empty() => {
                let rows = products.iter().zip(scales).zip(norms);
                out.extend(rows.map(|((&product, &scale), &norm)| upper(product, scale, 0.0, norm)));
            }
            _ => out.extend((first as u32..).zip(products).map(|(row, &product)| {
                let (approximate, bound) = self.of(row, product);
                approximate + bound
            })),
        }
    }

    #[inline(always)]
    fn bound(&self, product: i32, scale: f32, error: f32, norm: f32) -> (f32, f32) {
        let norm = match self.metric {
            Metric::Cosine => 1.000_01,
            Metric::Dot | Metric::L2 => norm * 1.000_01,
        };
        let query = self.query;
        let dot = product as f32 * (query.scale * scale);
        let bound = query.norm * error + query.error * (norm + error) + self.slack * query.norm * norm;
        match self.metric {
            Metric::Cosine | Metric::Dot => (dot, bound),
            Metric::L2 => {
                let squares = query.norm * query.norm + norm * norm;
                // The factors above make `squares` too large by up to 4e-5 of itself.
                (2.0 * dot - squares, 2.0 * bound + squares * (6e-5 + self.slack))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whichever loop is taken: with errors, and without, as int8 rows are.
    #[test]
    fn bounds_of_many_rows_are_those_of_each() {
        let query = RoundedQuery::new(&[0.5, -0.25, 0.125, 1.0]);
        let (scales, norms) = ([0.5, 0.25, 0.125], [1.0, 2.0, 3.0]);
        for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
            for errors in [&[0.01, 0.02, 0.03][..], &[]] {
                let bounds = Bounds { metric, query: &query, scales: &scales, errors, norms: &norms, slack: 1e-6 };
                let (products, mut uppers) = ([300, -20], Vec::new());
                bounds.uppers(1, &products, &mut uppers);
                let each = [1, 2].map(|row| {
                    let (approximate, bound) = bounds.of(row, products[row as usize - 1]);
                    approximate + bound
                });
                assert_eq!(uppers, each, "{metric}, {} errors", errors.len());
            }
        }
    }
}
