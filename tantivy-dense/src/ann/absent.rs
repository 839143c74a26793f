//! Stands in for the faiss binding where the feature `faiss` is off: the same calls, all of which say so. No value of
//! the type exists, so everything behind `&self` is unreachable by construction.

use std::sync::atomic::AtomicBool;

use tantivy::directory::OwnedBytes;

#[derive(Debug)]
#[allow(dead_code, reason = "the same cases as the real binding has")]
pub(super) enum Failure {
    Refused(String),
    Cancelled,
    NoMemory,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "the same cases as the real binding has")]
pub(super) enum Kind {
    Flat,
    Graph,
    Lists,
    Other,
}

#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "the same fields as the real binding has")]
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

#[derive(Clone, Copy, Debug, Default)]
#[allow(dead_code, reason = "the same fields as the real binding has")]
pub(super) struct Breadth {
    pub ef: u64,
    pub nprobe: u64,
    pub k_factor: f32,
}

#[derive(Debug, Default)]
pub(super) struct Found {
    pub distances: Vec<f32>,
    pub labels: Vec<i64>,
    pub distances_computed: u64,
    pub places_visited: u64,
}

pub(super) enum Native {}

fn off() -> Failure {
    Failure::Refused("tantivy-dense was built without the feature `faiss`".to_owned())
}

impl Native {
    pub(super) fn create(_: &str, _: usize, _: bool, _: u64, _: usize) -> Result<Native, Failure> {
        Err(off())
    }

    pub(super) fn open(_: OwnedBytes, _: Option<OwnedBytes>, _: u64) -> Result<Native, Failure> {
        Err(off())
    }

    pub(super) fn train(&mut self, _: u64, _: &[f32], _: usize, _: &AtomicBool) -> Result<(), Failure> {
        match *self {}
    }

    pub(super) fn add(&mut self, _: u64, _: &[f32], _: usize, _: &AtomicBool) -> Result<(), Failure> {
        match *self {}
    }

    pub(super) fn size(&self, _: bool) -> Result<(u64, u64), Failure> {
        match *self {}
    }

    pub(super) fn write(
        &self,
        _: bool,
        _: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<std::io::Result<()>, Failure> {
        match *self {}
    }

    pub(super) fn info(&self) -> Result<Info, Failure> {
        match *self {}
    }

    pub(super) fn search(
        &self,
        _: &[f32],
        _: usize,
        _: usize,
        _: Breadth,
        _: Option<&[u64]>,
    ) -> Result<Found, Failure> {
        match *self {}
    }
}
