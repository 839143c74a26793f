//! Which segments to merge, where a merge may cost the building of an index.

use tantivy::indexer::{LogMergePolicy, MergeCandidate, MergePolicy};
use tantivy::schema::Schema;
use tantivy::{Index, SegmentMeta};

use crate::ann::{AnnIndex, AnnPolicy};
use crate::{Dense, DenseError, VectorField};

/// Segments of one size that are merged into one.
const FACTOR: usize = 8;
/// Segments below this many documents count as of one size.
const SMALL: u32 = 10_000;
/// Larger segments are left alone, but for their deletes.
const MAX_DOCS: usize = 10_000_000;
/// Share of deleted documents from which on a segment is rewritten.
const DEAD: f32 = 0.2;

/// A merge policy for indexes with vectors.
///
/// Segments of about one size are merged eight at a time, as tantivy's own policy does it, with three differences:
///
/// - Small segments are merged among themselves, and never into a segment that has an approximate index: that would
///   build the index anew for a few more rows.
/// - Segments with an index are merged only where the result is at least twice as large as the largest of them, so
///   that a row takes part in the building of no more indexes than there are doublings.
/// - A segment a fifth of whose documents are deleted is rewritten. Deleted rows cost a scan nothing but time; a
///   graph full of them is searched for longer and finds less.
///
/// ```
/// # fn main() -> Result<(), tantivy_dense::DenseError> {
/// use tantivy::schema::Schema;
/// use tantivy_dense::{Dense, VectorField, VectorOptions};
/// let mut schema = Schema::builder();
/// VectorField::add_to(&mut schema, "vector", VectorOptions::cosine(384))?;
/// let dense = Dense::new();
/// let index = dense.index_builder().schema(schema.build()).create_in_ram()?;
/// // A writer of `Dense` has it already; this one merges four segments at a time.
/// let writer = dense.writer(&index, 50_000_000)?;
/// writer.set_merge_policy(Box::new(dense.merge_policy(&index)?.factor(4)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct DenseMergePolicy {
    indexed_from: u32,
    factor: usize,
    small: u32,
    max_docs: usize,
    dead: f32,
}

impl DenseMergePolicy {
    /// For an index with this schema, whose merges build what `ann` says.
    ///
    /// # Errors
    /// As [`VectorField::all`].
    pub fn new(schema: &Schema, ann: &AnnPolicy) -> Result<DenseMergePolicy, DenseError> {
        let fields = VectorField::all(schema)?;
        let from = fields.iter().filter_map(|field| indexed_from(field, ann)).min();
        let indexed_from = from.filter(|_| AnnIndex::available()).unwrap_or(u32::MAX);
        Ok(DenseMergePolicy { indexed_from, factor: FACTOR, small: SMALL, max_docs: MAX_DOCS, dead: DEAD })
    }

    /// Segments of about one size that are merged into one; 2 or more. Fewer make searches faster and merges more.
    /// Default: 8.
    #[must_use]
    pub fn factor(mut self, segments: usize) -> DenseMergePolicy {
        self.factor = segments.max(2);
        self
    }

    /// Segments below this many documents count as of one size. Default: 10,000.
    #[must_use]
    pub fn small(mut self, documents: u32) -> DenseMergePolicy {
        self.small = documents.max(1);
        self
    }

    /// Segments of more live documents are not merged with others. Default: ten million.
    #[must_use]
    pub fn max_docs(mut self, documents: usize) -> DenseMergePolicy {
        self.max_docs = documents;
        self
    }

    /// Share of deleted documents, above 0, from which on a segment is rewritten; above 1 for never. Default: 0.2.
    #[must_use]
    pub fn dead_share(mut self, share: f32) -> DenseMergePolicy {
        self.dead = share.max(f32::MIN_POSITIVE);
        self
    }

    /// Documents from which on a segment has an approximate index.
    pub fn indexed_from(&self) -> u32 {
        self.indexed_from
    }

    fn is_dead(&self, segment: &SegmentMeta) -> bool {
        segment.num_deleted_docs() as f32 >= self.dead * segment.max_doc() as f32 && segment.has_deletes()
    }

    fn by_size(&self, segments: &[SegmentMeta], small: u32) -> Vec<MergeCandidate> {
        let mut policy = LogMergePolicy::default();
        policy.set_min_num_segments(self.factor);
        policy.set_min_layer_size(small);
        policy.set_max_docs_before_merge(self.max_docs);
        policy.compute_merge_candidates(segments)
    }
}

/// The fewest rows of a field for which an index is built, found by halving: what is built for some rows is built for
/// more.
fn indexed_from(field: &VectorField, ann: &AnnPolicy) -> Option<u32> {
    let ann = ann.unlimited();
    let builds = |rows: u32| field.options().plan(&ann, rows).is_some();
    let (mut none, mut some) = (0, tantivy::TERMINATED);
    if !builds(some) {
        return None;
    }
    while some - none > 1 {
        let middle = none + (some - none) / 2;
        if builds(middle) { some = middle } else { none = middle }
    }
    Some(some)
}

impl MergePolicy for DenseMergePolicy {
    fn compute_merge_candidates(&self, segments: &[SegmentMeta]) -> Vec<MergeCandidate> {
        let (dead, whole): (Vec<SegmentMeta>, Vec<SegmentMeta>) =
            segments.iter().cloned().partition(|segment| self.is_dead(segment));
        let is_indexed = |segment: &SegmentMeta| segment.max_doc() >= self.indexed_from;
        let (indexed, plain): (Vec<SegmentMeta>, Vec<SegmentMeta>) = whole.into_iter().partition(is_indexed);
        let (dead_indexed, dead_plain): (Vec<SegmentMeta>, Vec<SegmentMeta>) = dead.into_iter().partition(is_indexed);

        let mut candidates = self.by_size(&plain, self.small);
        candidates.extend(self.by_size(&indexed, self.indexed_from.max(self.small)).into_iter().filter(|candidate| {
            let sizes =
                || indexed.iter().filter(|segment| candidate.0.contains(&segment.id())).map(SegmentMeta::num_docs);
            let (sum, largest) = (sizes().map(u64::from).sum::<u64>(), sizes().max().unwrap_or(0));
            sum >= 2 * u64::from(largest)
        }));
        // Too large to be merged with others, but not to be rewritten alone.
        let (large, rest): (Vec<SegmentMeta>, Vec<SegmentMeta>) =
            dead_plain.into_iter().partition(|segment| segment.num_docs() as usize > self.max_docs);
        candidates.extend(dead_indexed.iter().chain(&large).map(|segment| MergeCandidate(vec![segment.id()])));
        if !rest.is_empty() {
            candidates.push(MergeCandidate(rest.iter().map(SegmentMeta::id).collect()));
        }
        candidates
    }
}

impl Dense {
    /// The merge policy for an index whose merges build what this object's options say.
    ///
    /// # Errors
    /// As [`VectorField::all`].
    pub fn merge_policy(&self, index: &Index) -> Result<DenseMergePolicy, DenseError> {
        DenseMergePolicy::new(&index.schema(), &self.inner.options.ann)
    }
}

#[cfg(test)]
mod tests {
    use tantivy::index::SegmentId;

    use super::*;
    use crate::VectorOptions;

    /// A policy that has segments of 1,000 documents and more indexed, asked about segments of (documents, deleted).
    fn merges(policy: &AnnPolicy, segments: &[(u32, u32)]) -> Vec<Vec<(u32, u32)>> {
        let mut schema = Schema::builder();
        VectorField::add_to(&mut schema, "vector", VectorOptions::cosine(4)).unwrap();
        VectorField::add_to(&mut schema, "other", VectorOptions::cosine(4).index("none")).unwrap();
        let schema = schema.build();
        let mut rules = DenseMergePolicy::new(&schema, policy).unwrap().small(100);
        if !AnnIndex::available() {
            rules.indexed_from = 1_000;
        }
        let index = Index::create_in_ram(schema);
        let metas: Vec<SegmentMeta> = segments
            .iter()
            .map(|&(documents, deleted)| {
                let meta = index.new_segment_meta(SegmentId::generate_random(), documents);
                if deleted > 0 { meta.with_delete_meta(deleted, 7) } else { meta }
            })
            .collect();
        let find = |id: &SegmentId| {
            let meta = metas.iter().find(|meta| meta.id() == *id).unwrap();
            (meta.max_doc(), meta.num_deleted_docs())
        };
        let mut found: Vec<Vec<(u32, u32)>> =
            rules.compute_merge_candidates(&metas).iter().map(|merge| merge.0.iter().map(find).collect()).collect();
        found.iter_mut().for_each(|merge| merge.sort_unstable());
        found.sort();
        found
    }

    fn graphs() -> AnnPolicy {
        AnnPolicy::always("HNSW8", 1_000)
    }

    #[test]
    fn the_least_number_of_rows_with_an_index_is_found() {
        let mut schema = Schema::builder();
        VectorField::add_to(&mut schema, "long", VectorOptions::cosine(768)).unwrap();
        VectorField::add_to(&mut schema, "short", VectorOptions::cosine(64)).unwrap();
        let schema = schema.build();
        let from = |policy: &AnnPolicy| DenseMergePolicy::new(&schema, policy).unwrap().indexed_from();
        let of = |rows: u32| if AnnIndex::available() { rows } else { u32::MAX };
        assert_eq!(from(&AnnPolicy::default()), of(50_000));
        assert_eq!(from(&AnnPolicy::always("HNSW32", 123)), of(123));
        assert_eq!(from(&AnnPolicy::never()), u32::MAX);
    }

    #[test]
    fn eight_of_one_size_are_merged_and_no_fewer() {
        assert_eq!(merges(&graphs(), &[(10, 0); 7]), Vec::<Vec<_>>::new());
        assert_eq!(merges(&graphs(), &[(10, 0); 8]), [vec![(10, 0); 8]]);
        assert_eq!(merges(&graphs(), &[(2_000, 0); 7]), Vec::<Vec<_>>::new());
        assert_eq!(merges(&graphs(), &[(2_000, 0); 8]), [vec![(2_000, 0); 8]]);
    }

    #[test]
    fn small_segments_never_pull_an_indexed_one_into_a_merge() {
        // Eight of about one size, the largest of which has an index: tantivy's own policy would merge all of them.
        let mut segments = vec![(900, 0); 7];
        segments.push((1_100, 0));
        assert_eq!(merges(&graphs(), &segments), Vec::<Vec<_>>::new());
        segments.push((900, 0));
        assert_eq!(merges(&graphs(), &segments), [vec![(900, 0); 8]]);
    }

    #[test]
    fn a_segment_is_rewritten_once_a_fifth_of_it_is_dead() {
        assert_eq!(merges(&graphs(), &[(5_000, 999), (300, 59)]), Vec::<Vec<_>>::new());
        let segments = [(5_000, 1_000), (6_000, 5_000), (300, 60), (10, 2), (4_000, 0)];
        let expected = [vec![(10, 2), (300, 60)], vec![(5_000, 1_000)], vec![(6_000, 5_000)]];
        assert_eq!(merges(&graphs(), &segments), expected);
    }

    #[test]
    fn a_segment_too_large_for_merging_is_rewritten_alone() {
        if !AnnIndex::available() {
            return; // `merges` then gives every segment of 1,000 documents an index
        }
        let large = 20_000_000;
        let segments = [(large, large / 4), (large, 10), (300, 60), (10, 2)];
        let expected = [vec![(10, 2), (300, 60)], vec![(large, large / 4)]];
        assert_eq!(merges(&AnnPolicy::never(), &segments), expected);
    }

    #[test]
    fn an_index_is_built_anew_only_for_twice_as_many_rows() {
        let mut schema = Schema::builder();
        VectorField::add_to(&mut schema, "vector", VectorOptions::cosine(4)).unwrap();
        let mut rules = DenseMergePolicy::new(&schema.build(), &graphs()).unwrap().small(100).factor(2);
        rules.indexed_from = 1_000;
        let index = Index::create_in_ram(Schema::builder().build());
        let sizes = |sizes: &[u32]| -> usize {
            let meta = |&size: &u32| index.new_segment_meta(SegmentId::generate_random(), size);
            let metas: Vec<SegmentMeta> = sizes.iter().map(meta).collect();
            rules.compute_merge_candidates(&metas).len()
        };
        assert_eq!(sizes(&[3_000, 2_000]), 0, "of one level, but less than twice the larger");
        assert_eq!(sizes(&[3_000, 3_000]), 1);
        assert_eq!(sizes(&[3_000, 2_500, 2_000]), 1);
    }
}
