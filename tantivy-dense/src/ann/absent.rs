//! Stands in for the faiss binding where the feature `faiss` is off: the same calls, all of which say so. No value of
//! the type exists, so everything behind `&self` is unreachable by construction.

use std::sync::atomic::AtomicBool;

use tantivy::directory::OwnedBytes;

use super::raw::{Breadth, Failure, Info, RawHits};

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
    ) -> Result<RawHits, Failure> {
        match *self {}
    }
}
