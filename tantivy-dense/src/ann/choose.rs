//! Which index pays for how many rows.
//!
//! The defaults come from measurements that the chapter "choosing an index" of the crate's documentation lists. In
//! short: a scan of the rows is exact, needs no building, and stays below some twenty milliseconds up to 50,000 rows of 768 values; a graph answers in well under one
//! from there on, for the price of minutes of building per million rows; lists build several times faster and take
//! little memory, so they take over where a graph's build would last for hours.

use super::{AnnBuild, AnnSearch, Similarity};

/// What to build for segments of which size.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AnnPolicy {
    /// No index below this many values (rows x dimension): they are scanned.
    pub(crate) exact_below_values: usize,
    /// No index below this many rows, however long they are.
    pub(crate) exact_below_rows: usize,
    /// Lists instead of a graph from this many rows on.
    pub(crate) lists_from_rows: usize,
    /// Build this instead of what the policy would choose, wherever an index pays. A faiss factory string.
    pub(crate) factory: Option<String>,
    /// Threads of a build, 0 for all.
    pub(crate) threads: usize,
    /// efConstruction of a graph.
    pub(crate) ef_construction: usize,
    /// Default ef of searches; `None` chooses by the index.
    pub(crate) ef: Option<usize>,
    /// Default nprobe of searches; `None` chooses by the number of lists.
    pub(crate) nprobe: Option<usize>,
    /// Candidates per hit taken from an index that keeps rows rounded, before they are compared in full; `None`
    /// chooses by the index.
    pub(crate) oversample: Option<f32>,
    /// Rows that are scanned in the time that a graph takes for each unit of its ef. A segment with fewer rows left by
    /// its filter than a graph search costs is scanned, even though it has an index. 0: whatever it costs, an index is used.
    pub(crate) scan_per_ef: usize,
    /// The most memory, in bytes as [`AnnBuild::memory_bytes`] estimates them, that a build may take. Where a graph
    /// would take more, lists are built; where the index that is left to build would, none is. Builds take turns in a
    /// process, so that this is the memory of all of them. Default: no limit.
    pub(crate) max_build_bytes: usize,
}

impl Default for AnnPolicy {
    fn default() -> AnnPolicy {
        AnnPolicy {
            exact_below_values: 50_000 * 768,
            exact_below_rows: 10_000,
            lists_from_rows: 5_000_000,
            factory: None,
            threads: 0,
            ef_construction: 100,
            ef: None,
            nprobe: None,
            oversample: None,
            scan_per_ef: 40,
            max_build_bytes: usize::MAX,
        }
    }
}

/// What to build for one segment, and how to search it by default.
#[derive(Clone, Debug, PartialEq)]
pub struct AnnPlan {
    /// What to build.
    pub build: AnnBuild,
    /// The breadth of searches that ask for none.
    pub search: AnnSearch,
}

impl AnnPolicy {
    /// A policy that never builds.
    pub fn never() -> Self {
        AnnPolicy { exact_below_rows: usize::MAX, ..AnnPolicy::default() }
    }

    /// A policy that builds `factory` over every segment of at least `rows` rows that a merge writes, and searches it
    /// even where a scan would be sooner done.
    pub fn always(factory: impl Into<String>, rows: usize) -> Self {
        AnnPolicy {
            exact_below_values: 0,
            exact_below_rows: rows,
            factory: Some(factory.into()),
            scan_per_ef: 0,
            ..AnnPolicy::default()
        }
    }

    /// No index below this many values (rows x dimension): they are scanned.
    #[must_use]
    pub fn exact_below_values(mut self, exact_below_values: usize) -> Self {
        self.exact_below_values = exact_below_values;
        self
    }

    /// No index below this many rows, however long they are.
    #[must_use]
    pub fn exact_below_rows(mut self, exact_below_rows: usize) -> Self {
        self.exact_below_rows = exact_below_rows;
        self
    }

    /// Lists instead of a graph from this many rows on.
    #[must_use]
    pub fn lists_from_rows(mut self, lists_from_rows: usize) -> Self {
        self.lists_from_rows = lists_from_rows;
        self
    }

    /// Build this instead of what the policy would choose, wherever an index pays. A faiss factory string.
    #[must_use]
    pub fn factory(mut self, factory: impl Into<String>) -> Self {
        self.factory = Some(factory.into());
        self
    }

    /// Threads of a build, 0 for all.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// efConstruction of a graph.
    #[must_use]
    pub fn ef_construction(mut self, ef_construction: usize) -> Self {
        self.ef_construction = ef_construction;
        self
    }

    /// Default ef of searches; Unless given, chosen by the index.
    #[must_use]
    pub fn ef(mut self, ef: usize) -> Self {
        self.ef = Some(ef);
        self
    }

    /// Default nprobe of searches; unless given, chosen by the number of lists.
    #[must_use]
    pub fn nprobe(mut self, nprobe: usize) -> Self {
        self.nprobe = Some(nprobe);
        self
    }

    /// Candidates per hit taken from an index that keeps rows rounded, before they are compared in full; `None`
    /// chooses by the index.
    #[must_use]
    pub fn oversample(mut self, oversample: f32) -> Self {
        self.oversample = Some(oversample);
        self
    }

    /// Rows that are scanned in the time that a graph takes for each unit of its ef. A segment with fewer rows left by
    /// its filter than a graph search costs is scanned, even though it has an index. 0: whatever it costs, an index is used.
    #[must_use]
    pub fn scan_per_ef(mut self, scan_per_ef: usize) -> Self {
        self.scan_per_ef = scan_per_ef;
        self
    }

    /// The most memory, in bytes as [`AnnBuild::memory_bytes`] estimates them, that a build may take. Where a graph
    /// would take more, lists are built; where the index that is left to build would, none is. Builds take turns in a
    /// process, so that this is the memory of all of them. Default: no limit.
    #[must_use]
    pub fn max_build_bytes(mut self, max_build_bytes: usize) -> Self {
        self.max_build_bytes = max_build_bytes;
        self
    }

    /// The same without its limit on memory: whether an index pays, where it is not known yet how many rows there are.
    pub(crate) fn unlimited(&self) -> AnnPolicy {
        AnnPolicy { max_build_bytes: usize::MAX, ..self.clone() }
    }

    /// What to build over `rows` rows of `dimension` values, or `None` where scanning them is the better choice.
    ///
    /// Does not look at whether the feature `faiss` is on.
    pub fn plan(&self, similarity: Similarity, dimension: usize, rows: usize) -> Option<AnnPlan> {
        if rows == 0 || rows < self.exact_below_rows || rows.saturating_mul(dimension) < self.exact_below_values {
            return None;
        }
        let fits =
            |factory: &str| AnnBuild::new(factory, similarity, dimension).memory_bytes(rows) <= self.max_build_bytes;
        let factory = match &self.factory {
            Some(factory) => factory.clone(),
            None if rows < self.lists_from_rows && fits(GRAPH) => GRAPH.to_owned(),
            None => format!("IVF{},SQ8", lists_for(rows)),
        };
        if !fits(&factory) {
            return None;
        }
        let search = AnnSearch {
            ef: Some(self.ef.unwrap_or(DEFAULT_EF)),
            nprobe: match (self.nprobe, lists_in(&factory)) {
                (Some(nprobe), _) => Some(nprobe),
                (None, Some(lists)) => Some(probes_for(lists)),
                (None, None) => None,
            },
            k_factor: refines(&factory).then_some(REFINED),
        };
        Some(AnnPlan {
            build: AnnBuild {
                threads: self.threads,
                ef_construction: self.ef_construction,
                ..AnnBuild::new(factory, similarity, dimension)
            },
            search,
        })
    }
}

/// The graph that is built unless another index is asked for.
const GRAPH: &str = "HNSW32";

/// No number in a factory string counts for more.
const LARGEST_NUMBER: usize = 1 << 22;

/// Candidates for each wanted row that an index compares again with better copies of the rows.
pub(crate) const REFINED: f32 = 4.0;

/// Whether an index with this factory string compares what it finds once more, with better copies of the rows.
pub(crate) fn refines(factory: &str) -> bool {
    factory.contains("RFlat") || factory.contains("Refine")
}

/// Default ef: recall@10 of 0.95 and more on everything measured, see the chapter on choosing.
const DEFAULT_EF: usize = 96;

impl AnnBuild {
    /// About how many bytes of memory the finished index takes while it is built over `rows` rows: its codes, the links
    /// of a graph, the vectors it is trained on. An estimate from the factory string.
    pub fn memory_bytes(&self, rows: usize) -> usize {
        let (factory, dimension) = (self.factory.as_str(), self.dimension);
        let number_after = |mark: &str| -> Option<usize> {
            let digits = factory.split_once(mark)?.1;
            let number = digits.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<usize>().ok();
            // No builder takes more; a larger one here would overflow.
            number.map(|number| number.min(LARGEST_NUMBER))
        };
        let code = match () {
            () if factory.contains("SQ8") => dimension,
            () if factory.contains("SQfp16") || factory.contains("SQbf16") => 2 * dimension,
            () if factory.contains("RFlat") => 4 * dimension + number_after("PQ").unwrap_or(dimension / 8),
            () if factory.contains("PQ") => number_after(",PQ").or(number_after("PQ")).unwrap_or(dimension),
            () if factory.contains("RaBitQ") => dimension / 8 + 8,
            () => 4 * dimension,
        };
        let lists = lists_in(factory);
        // A link takes four bytes, the lowest level has twice the others'; levels and offsets of a node take twelve.
        let links = match (number_after("HNSW"), lists) {
            (Some(links), None) => 4 * 2 * links + 4 * links / 8 + 12,
            _ => 0,
        };
        let number = if lists.is_some() { 8 } else { 0 };
        let training =
            lists.map_or(0, |lists| lists.saturating_mul(64).max(65_536).min(rows)).saturating_mul(4 * dimension);
        rows.saturating_mul(code + links + number).saturating_add(training)
    }
}

/// Lists for `rows` rows: a power of two near four times the square root, so that finding the lists and scanning a
/// part of them cost about the same.
fn lists_for(rows: usize) -> usize {
    let wanted = 4.0 * (rows as f64).sqrt();
    2_usize.pow(wanted.log2().round().clamp(4.0, 17.0) as u32)
}

/// Lists to look into by default, of `lists`.
fn probes_for(lists: usize) -> usize {
    (lists / 8).clamp(16, 512).min(lists)
}

/// The number of lists that a factory string asks for (`IVF1024`), if it asks for any.
fn lists_in(factory: &str) -> Option<usize> {
    factory.split([',', '(', ')']).find_map(|part| {
        let digits: String = part.strip_prefix("IVF")?.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factory(policy: &AnnPolicy, dimension: usize, rows: usize) -> Option<String> {
        policy.plan(Similarity::InnerProduct, dimension, rows).map(|plan| plan.build.factory)
    }

    #[test]
    fn small_segments_are_scanned_large_ones_get_a_graph_huge_ones_lists() {
        let policy = AnnPolicy::default();
        assert_eq!(factory(&policy, 768, 49_999), None);
        assert_eq!(factory(&policy, 768, 50_000).as_deref(), Some("HNSW32"));
        assert_eq!(factory(&policy, 8, 4_800_000).as_deref(), Some("HNSW32"));
        assert_eq!(factory(&policy, 100_000, 9_999), None, "few rows are scanned however long they are");
        assert_eq!(factory(&policy, 768, 5_000_000).as_deref(), Some("IVF8192,SQ8"));
        assert_eq!(factory(&AnnPolicy::never(), 768, usize::MAX / 1024), None);
        assert_eq!(factory(&policy, 768, 0), None);
    }

    #[test]
    fn a_factory_of_the_users_own_is_built_where_an_index_pays() {
        let policy = AnnPolicy { factory: Some("OPQ16,IVF512(HNSW16),PQ16".to_owned()), ..AnnPolicy::default() };
        assert_eq!(factory(&policy, 768, 100), None);
        let plan = policy.plan(Similarity::SquaredL2, 768, 60_000).expect("an index pays here");
        assert_eq!(plan.build.factory, "OPQ16,IVF512(HNSW16),PQ16");
        assert_eq!(plan.search.nprobe, Some(64), "an eighth of the lists");
        assert_eq!(factory(&AnnPolicy::always("Flat", 5), 2, 5).as_deref(), Some("Flat"));
        assert_eq!(factory(&AnnPolicy::always("Flat", 5), 2, 4), None);
    }

    #[test]
    fn a_build_that_would_take_too_much_memory_is_not_chosen() {
        let bytes = |factory: &str| AnnBuild::new(factory, Similarity::InnerProduct, 384).memory_bytes(1_000_000);
        for huge in ["HNSW4611686018427387904", "PQ18446744073709551615", "IVF18446744073709551615,Flat"] {
            assert!(bytes(huge) > 0, "{huge}");
        }
        // Measured: 362 MB for HNSW32 over 200,000 x 384 with its rows, 80 MB for IVF1024,SQ8.
        assert!((1_750_000_000..1_950_000_000).contains(&bytes("HNSW32")), "{}", bytes("HNSW32"));
        assert!((390_000_000..500_000_000).contains(&bytes("IVF1024,SQ8")), "{}", bytes("IVF1024,SQ8"));
        assert!(bytes("HNSW32_SQ8") < bytes("HNSW32") / 2 && bytes("IVF1024,PQ48") < 200_000_000);
        let limited =
            |max_build_bytes: usize| factory(&AnnPolicy { max_build_bytes, ..AnnPolicy::default() }, 384, 1_000_000);
        assert_eq!(limited(2_000_000_000).as_deref(), Some("HNSW32"));
        assert_eq!(limited(1_000_000_000).as_deref(), Some("IVF4096,SQ8"));
        assert_eq!(limited(100_000_000), None);
    }

    #[test]
    fn indexes_that_refine_are_asked_for_more() {
        let k_factor = |factory: &str| {
            let plan = AnnPolicy::always(factory, 1).plan(Similarity::SquaredL2, 64, 10_000);
            plan.and_then(|plan| plan.search.k_factor)
        };
        assert_eq!(k_factor("IVF64,PQ32x4fs,RFlat"), Some(REFINED));
        assert_eq!(k_factor("IVF64,PQ32x4fs,Refine(SQ8)"), Some(REFINED));
        assert_eq!((k_factor("HNSW32"), k_factor("IVF64,SQ8")), (None, None));
    }

    #[test]
    fn lists_are_found_in_factory_strings() {
        assert_eq!(lists_in("IVF1024,SQ8"), Some(1024));
        assert_eq!(lists_in("OPQ16_64,IVF65536_HNSW32,PQ16"), Some(65536));
        assert_eq!(lists_in("HNSW32"), None);
        assert_eq!(lists_in("IVF,Flat"), None);
        assert_eq!(lists_for(1_000_000), 4096);
        assert_eq!(lists_for(1), 16);
    }
}
