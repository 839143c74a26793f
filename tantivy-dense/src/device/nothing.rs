//! Stands in for a device that this build cannot have: it never opens, and says why. No value of the type exists, so
//! everything behind `&self` is unreachable by construction.

use super::backend::{Backend, Nearest, Trouble};
use crate::ann::{AnnIndex, RowSource, Similarity};

#[cfg_attr(feature = "gpu", allow(dead_code, reason = "with every feature on, every device can be had"))]
pub(super) enum Nothing {}

impl Nothing {
    #[cfg_attr(feature = "gpu", allow(dead_code, reason = "with every feature on, every device can be had"))]
    pub(super) fn open(why: &str) -> Result<Nothing, String> {
        Err(why.to_owned())
    }
}

impl Backend for Nothing {
    type Block = ();

    fn memory(&self) -> u64 {
        match *self {}
    }

    fn most(&self) -> usize {
        match *self {}
    }

    fn copy_rows(&mut self, _: &dyn RowSource, _: Similarity, _: usize) -> Result<(), Trouble> {
        match *self {}
    }

    fn copy_lists(&mut self, _: &AnnIndex) -> Result<(), Trouble> {
        match *self {}
    }

    fn nearest(&mut self, &(): &(), _: &[f32], _: usize, _: usize) -> Result<Nearest, Trouble> {
        match *self {}
    }
}
