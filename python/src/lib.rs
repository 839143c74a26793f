//! The extension module of the Python package `adam_search`.
//!
//! Each class wraps one type of the libraries: `index` the engine, `encoder` and `pair_scorer` the models, `evaluation` the
//! metrics. What Python hands over becomes documents in `records` and `arrow`. Every call that works releases the interpreter's
//! lock and takes it again only to report progress and to look for Ctrl-C.

mod arrow;
mod collection;
mod encoder;
mod errors;
mod evaluation;
mod gather;
mod hits;
mod index;
mod options;
mod pair_scorer;
mod progress;
mod records;
mod texts;
mod values;

use pyo3::prelude::*;

#[pymodule(name = "_native")]
mod native {
    #[pymodule_export]
    use crate::collection::{Collection, Documents};
    #[pymodule_export]
    use crate::encoder::Encoder;
    #[pymodule_export]
    use crate::evaluation::{Comparison, Evaluation, compare, evaluate};
    #[pymodule_export]
    use crate::gather::{Gathering, Request, read_shards};
    #[pymodule_export]
    use crate::hits::{Arm, Hit, Hits, Snippet};
    #[pymodule_export]
    use crate::index::{CommitReport, Index};
    #[pymodule_export]
    use crate::pair_scorer::PairScorer;
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
