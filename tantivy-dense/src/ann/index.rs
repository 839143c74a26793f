//! [`AnnIndex`]: an approximate index over rows, in memory or mapped.

use super::Similarity;
use super::faults::{check_vector, damaged, failed, refused};
use super::native::Native;
use super::raw::{Breadth, Info, Kind, RawHits};
use crate::DenseError;

/// How widely one query searches. `None` stands for the breadth the index was built with.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AnnSearch {
    /// Candidates a graph keeps while it is searched; never fewer than k.
    pub ef: Option<usize>,
    /// Lists to look into, for an inverted file.
    pub nprobe: Option<usize>,
    /// Candidates per wanted row for an index that refines (`...,RFlat`).
    pub k_factor: Option<f32>,
}

/// The family an index belongs to, which decides whether `ef` or `nprobe` matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnnKind {
    /// Every row is looked at.
    Flat,
    /// A graph (HNSW): `ef` matters.
    Graph,
    /// An inverted file (IVF): `nprobe` matters.
    Lists,
    /// Another of faiss's kinds.
    Other,
}

/// Rows found, with what finding them took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AnnFound {
    /// Row numbers and similarities (higher is nearer), nearest first, ties by row number.
    pub rows: Vec<(u32, f32)>,
    /// Distances computed.
    pub distances: u64,
    /// Nodes of a graph visited, or lists looked into.
    pub places: u64,
}

/// An approximate index over rows.
///
/// Searching takes `&self` and may be done from any number of threads; each search runs on its caller's thread alone.
pub struct AnnIndex {
    pub(super) native: Native,
    pub(super) info: Info,
    pub(super) mapped_bytes: usize,
}

impl AnnIndex {
    /// Whether indexes can be built and searched: false where the crate was built without the feature `faiss`.
    pub fn available() -> bool {
        cfg!(feature = "faiss")
    }

    /// Name and version of the library that builds indexes, as written to files. `None` without the feature.
    pub fn library() -> Option<(&'static str, String)> {
        #[cfg(feature = "faiss")]
        {
            Some(("faiss", super::native::version()))
        }
        #[cfg(not(feature = "faiss"))]
        {
            None
        }
    }

    /// The `k` nearest rows, nearest first, ties by row number; fewer where fewer are found.
    ///
    /// `filter` has bit `row % 64` of word `row / 64` set for every row that may be returned; rows beyond its end may
    /// not. A graph search passes through rows that are filtered out, so a filter that leaves few rows can leave it short:
    /// scan those rows instead.
    pub fn search(
        &self,
        query: &[f32],
        k: usize,
        search: &AnnSearch,
        filter: Option<&[u64]>,
    ) -> Result<Vec<(u32, f32)>, DenseError> {
        Ok(self.search_counted(query, k, search, filter)?.rows)
    }

    /// [`AnnIndex::search`], with what it took.
    pub fn search_counted(
        &self,
        query: &[f32],
        k: usize,
        search: &AnnSearch,
        filter: Option<&[u64]>,
    ) -> Result<AnnFound, DenseError> {
        self.check_query(query)?;
        let k = k.min(self.rows());
        if k == 0 {
            return Ok(AnnFound::default());
        }
        let found = self
            .native
            .search(query, self.dimension(), k, self.breadth(search), filter)
            .map_err(|failure| failed("searching an index", failure))?;
        self.collect(found, filter)
    }

    /// How vectors are compared.
    pub fn similarity(&self) -> Similarity {
        if self.info.inner_product { Similarity::InnerProduct } else { Similarity::SquaredL2 }
    }

    /// The faiss index, to be copied to a GPU while `self` lives.
    #[cfg(feature = "gpu")]
    pub(super) fn inner(&self) -> *const std::ffi::c_void {
        self.native.inner()
    }

    pub(super) fn check_query(&self, query: &[f32]) -> Result<(), DenseError> {
        if query.len() != self.dimension() {
            return Err(refused(format!("a query of {} values for an index of {}", query.len(), self.dimension())));
        }
        check_vector(query, || "the query".to_owned())
    }

    fn breadth(&self, search: &AnnSearch) -> Breadth {
        // Wider than all rows is as good as all rows, and an honest size to allocate.
        let rows = self.info.rows.max(1);
        Breadth {
            ef: search.ef.map_or(0, |ef| (ef as u64).clamp(1, rows)),
            nprobe: search.nprobe.map_or(0, |lists| (lists as u64).clamp(1, rows)),
            k_factor: search.k_factor.filter(|factor| factor.is_finite()).map_or(0.0, |factor| factor.max(1.0)),
        }
    }

    fn collect(&self, found: RawHits, filter: Option<&[u64]>) -> Result<AnnFound, DenseError> {
        let mut rows = Vec::with_capacity(found.labels.len());
        for (&label, &distance) in found.labels.iter().zip(&found.distances) {
            if label == -1 {
                continue;
            }
            let row = match u32::try_from(label) {
                Ok(row) if u64::from(row) < self.info.rows => row,
                _ => {
                    return Err(damaged(format!("it names row {label} of {}", self.info.rows)));
                }
            };
            let allowed =
                filter.is_none_or(|words| words.get(row as usize / 64).is_some_and(|word| word >> (row % 64) & 1 == 1));
            if !allowed {
                return Err(refused(format!("an index of kind {:?} does not honour filters", self.kind())));
            }
            rows.push((row, if self.info.inner_product { distance } else { -distance }));
        }
        rows.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        Ok(AnnFound { rows, distances: found.distances_computed, places: found.places_visited })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.info.rows as usize
    }

    /// Values per row.
    pub fn dimension(&self) -> usize {
        self.info.dimension as usize
    }

    /// The family the index belongs to.
    pub fn kind(&self) -> AnnKind {
        match self.info.kind {
            Kind::Flat => AnnKind::Flat,
            Kind::Graph => AnnKind::Graph,
            Kind::Lists => AnnKind::Lists,
            Kind::Other => AnnKind::Other,
        }
    }

    /// Number of lists of an inverted file, else 0.
    pub fn lists(&self) -> usize {
        self.info.lists as usize
    }

    /// Whether searches from several threads run at the same time. Kinds whose search adds to faiss's global counters
    /// (product quantisers without lists, fast-scan) take turns instead.
    pub fn is_concurrent(&self) -> bool {
        self.info.concurrent
    }

    /// Bytes of memory the index holds itself, rows and bytes used in place not counted. A search keeps another byte
    /// per row of a graph and concurrent thread.
    pub fn memory_bytes(&self) -> usize {
        self.info.owned_bytes as usize
    }

    /// Length of the bytes the index was opened from, parts of which it may use in place; 0 for one just built.
    pub fn mapped_bytes(&self) -> usize {
        self.mapped_bytes
    }
}

impl std::fmt::Debug for AnnIndex {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("AnnIndex").field("info", &self.info).finish_non_exhaustive()
    }
}
