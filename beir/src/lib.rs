//! Collections in BEIR layout, trec_eval's metrics and paired significance tests.
//!
//! ```
//! use beir_eval::{EvalOptions, Metric, Qrels, Run, evaluate};
//!
//! # fn main() -> Result<(), beir_eval::BeirError> {
//! let qrels = Qrels::from_judgements([("q1", "d1", 2), ("q1", "d2", 1), ("q2", "d3", 1)]);
//! let mut run = Run::new();
//! run.insert("q1", vec![("d2".to_owned(), 7.5), ("d1".to_owned(), 6.0)]);
//!
//! let ndcg: Metric = "ndcg@10".parse()?;
//! let evaluation = evaluate(&qrels, &run, &[ndcg], &EvalOptions::default());
//! // q2 was judged and has no result: it counts 0.
//! assert_eq!(evaluation.num_queries(), 2);
//! assert!((evaluation.mean(ndcg) - 0.8597 / 2.0).abs() < 1e-4);
//! # Ok(())
//! # }
//! ```
//!
//! - [`Collection`] reads BEIR folders, zips of them and files of JSON lines, a record at a time; [`ReadOptions`] say how.
//! - [`Qrels`] and [`Run`] read BEIR's and TREC's files; [`Run::write`] writes what trec_eval reads.
//! - [`evaluate`] gives trec_eval's figures; [`significance::compare`] says whether two systems differ.
//!
//! Every error names the file, and the line where there is one.

mod archive;
mod collection;
mod elements;
mod error;
mod evaluate;
mod itself;
mod json;
mod layout;
mod lines;
mod metric;
mod options;
#[cfg(feature = "parquet")]
mod parquet_lines;
mod qrels;
mod record;
mod run;
pub mod significance;
mod source;
mod wrong;

pub use collection::{Collection, Documents, Queries, Records, Summary};
pub use elements::elements;
pub use error::{BeirError, Place};
pub use evaluate::{EvalOptions, Evaluation, Missing, evaluate};
pub use itself::SelfHits;
pub use metric::Metric;
pub use options::{Keep, OnWrongLine, ReadOptions};
pub use qrels::{Judgement, Judgements, Qrels};
pub use record::{Document, MAX_ID_CHARS, Query, Record, check_id};
pub use run::{Run, rank};
pub use source::{LFS_ADVICE, is_lfs_pointer, read_text};
pub use wrong::{WrongLine, WrongLines};
