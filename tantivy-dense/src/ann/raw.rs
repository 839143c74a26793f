//! What goes in and out of an index, with faiss and without it.
#![cfg_attr(not(feature = "faiss"), allow(dead_code, reason = "only faiss makes and reads some of these"))]

/// Why a call failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// faiss refused, with its own words.
    Refused(String),
    /// The cancel flag was set.
    Cancelled,
    /// Memory could not be had.
    NoMemory,
}

/// What an index is, as faiss sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Flat,
    Graph,
    Lists,
    Other,
}

/// Facts about an index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Info {
    pub rows: u64,
    pub dimension: u64,
    pub owned_bytes: u64,
    pub lists: u64,
    pub inner_product: bool,
    pub kind: Kind,
    pub trained: bool,
    pub concurrent: bool,
    pub graph_over_rows: bool,
}

/// How widely one query searches; 0 stands for what the index was built with.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Breadth {
    pub ef: u64,
    pub nprobe: u64,
    pub k_factor: f32,
}

/// What one search returned: distances as faiss has them and row numbers, -1 where there were fewer than k.
#[derive(Debug, Default)]
pub(super) struct RawHits {
    pub distances: Vec<f32>,
    pub labels: Vec<i64>,
    pub distances_computed: u64,
    pub places_visited: u64,
}
