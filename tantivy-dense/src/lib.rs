//! A vector field for [tantivy]: stored, merged, deleted and searched with the segment.
//!
//! Vectors are written by the same commit as the text they belong to, go through the same merges, disappear with the same
//! deletes, and are found by a [`Query`](tantivy::query::Query) that works with every collector. There is no second store to
//! keep in step.
//!
//! # From documents to hits
//! ```
//! use tantivy::query::QueryParser;
//! use tantivy::schema::{STORED, Schema, TEXT, Value};
//! use tantivy::{TantivyDocument, TantivyError};
//! use tantivy_dense::{Arm, Dense, Hybrid, KnnQuery, VectorField, VectorOptions};
//!
//! # fn main() -> Result<(), tantivy_dense::DenseError> {
//! // A schema with a vector field. Vectors come from wherever you like; these are made by hand.
//! let mut schema = Schema::builder();
//! let title = schema.add_text_field("title", TEXT | STORED);
//! let vector = VectorField::add_to(&mut schema, "title_vector", VectorOptions::cosine(3))?;
//!
//! // `Dense` goes with the index: it writes the vectors and opens them for searches.
//! let folder = tempfile::tempdir()?;
//! let (dense, index) = Dense::create_in_dir(folder.path(), schema.build())?;
//!
//! let mut writer = dense.writer(&index, 50_000_000)?;
//! for (text, values) in [
//!     ("Red fox", [0.9, 0.1, 0.0]),
//!     ("Grey wolf", [0.8, 0.3, 0.1]),
//!     ("Green fern", [0.0, 0.2, 0.9]),
//! ] {
//!     let mut document = TantivyDocument::new();
//!     document.add_text(title, text);
//!     vector.add(&mut document, &values)?; // a wrong vector is refused here, by name
//!     writer.add_document(document)?;
//! }
//! writer.commit()?;
//!
//! // The nearest two.
//! let searcher = dense.reader(&index)?.searcher();
//! let nearest = KnnQuery::new(&dense, vector.clone(), vec![1.0, 0.2, 0.0], 2);
//! let hits = nearest.search(&searcher)?;
//! let first: TantivyDocument = searcher.doc(hits[0].address)?;
//! assert_eq!(first.get_first(title).and_then(|value| value.as_str()), Some("Red fox"));
//! assert!(hits[0].similarity > 0.99);
//!
//! // Words and vector in one ranking.
//! let words = QueryParser::for_index(&index, vec![title]).parse_query("wolf").map_err(TantivyError::from)?;
//! let hits = Hybrid::new()
//!     .arm("words", Arm::text(words), 0.5)
//!     .arm("vector", Arm::vector(nearest), 0.5)
//!     .search(&searcher, 3)?;
//! let first: TantivyDocument = searcher.doc(hits[0].address)?;
//! assert_eq!(first.get_first(title).and_then(|value| value.as_str()), Some("Grey wolf"));
//! # Ok(())
//! # }
//! ```
//!
//! # What an option costs
//! | you say | you get | it costs |
//! |---|---|---|
//! | [`VectorOptions::cosine`], [`dot`](VectorOptions::dot), [`l2`](VectorOptions::l2) | f32 rows, exact search at the speed of memory | 4 bytes a value |
//! | [`.int8_first_pass(true)`](VectorOptions::int8_first_pass) | the same hits, several times sooner | a byte a value, 8 bytes a vector; indexing rounds every vector |
//! | [`.element(Element::F16)`](Element::F16) | half the disk and memory | three decimal digits are kept of each value |
//! | [`.element(Element::Int8)`](Element::Int8) | a quarter of both, scanned as a first pass is | similarities are of rounded vectors |
//! | feature `faiss` | approximate indexes, built by merges: large segments in about a millisecond | cmake and OpenBLAS to build the program; minutes of merging a million vectors; a few hits in a hundred |
//! | feature `gpu`, [`DenseOptions::device`] | exact search at the speed of a GPU's memory; queries that wait are answered together | an hour of building with CUDA; the rows once more, on the GPU; nothing at all where there is no GPU |
//! | [`VectorOptions::index`], [`DenseOptions::ann`] | an index of your choice, by faiss's factory strings | as above; nothing without the feature |
//! | [`KnnQuery::ef`], [`nprobe`](KnnQuery::nprobe) | more of the true nearest from approximate indexes | time, about in proportion |
//! | [`KnnQuery::exact`] | the true nearest | a scan |
//! | [`KnnQuery::within`] | everything at least so similar | a scan; as many hits as there are |
//! | [`KnnQuery::search_batch`] | many queries for one reading of the rows | they wait for one another |
//! | [`Dense::merge_policy`] | merges that do not build indexes again for nothing, and rewrite what is a fifth dead | nothing |
//! | [`KnnQuery::filter`] | the nearest among what matches | running the filter; then fewer rows are compared |
//! | [`DenseOptions::verify_on_open`] (default) | a damaged file is found before it answers | each segment is read once when it is opened |
//!
//! [`docs::choosing_an_index`] has measurements, [`docs::file_format`] the bytes, [`docs::searching_on_a_gpu`] all about GPUs.
//!
//! # What to know
//! - tantivy fixes an index's files when it is made. An index made without this crate cannot get vectors; the example
//!   `migrate_an_old_index` makes a new one from its stored fields.
//! - A document has at most one vector per field, and may have none: then no search by vector finds it.
//! - **Without the plugin, vectors are dropped in silence**: tantivy lets `Index::create_in_dir` and `Index::open` take a schema with a vector
//!   field, and writes everything but the vectors into an index made so. Make and open indexes by [`Dense`]; readers and
//!   writers made by it refuse the others.
//! - **Vectors are not in the document store.** What [`Searcher::doc`](tantivy::Searcher::doc) returns has none, so that a document that is read,
//!   changed and added again would lose its vector. Read it by [`Dense::document`], or add the vector again.
//! - JSON documents: [`TantivyDocument::parse_json`](tantivy::TantivyDocument::parse_json) refuses a value for a vector field. Parse the rest, and
//!   add the vector by [`VectorField::add`].
//! - Use readers made by [`Dense::reader`]. They open every segment's vectors before they hand out a searcher; others do so at the
//!   first search, when a merge may have replaced the segment. With warmers of your own, see [`Dense::warmer`].
//! - Use writers made by [`Dense::writer`], or call [`Dense::prepare`] after opening one and [`Dense::rollback`] in place of tantivy's: tantivy 0.27
//!   expects some care of its users, which these take.
//! - Searches, commits and merges block the thread that calls them. In async code call them by `spawn_blocking` or on threads
//!   of their own.
//! - A [`KnnQuery`] or [`HybridQuery`] matches its `k` hits alone, so counts and facets are of those, and every
//!   [`Searcher::search`](tantivy::Searcher::search) runs it again: give several collectors in one call.
//! - A filter that only excludes (`MustNot` alone) leaves everything else here, while tantivy's own Boolean query of this kind matches
//!   nothing.
//! - This version is bound to tantivy 0.27, whose plugins it uses and whose types are part of its interface: a program that depends
//!   on another tantivy beside it cannot pass them.
//! - With the feature `faiss`, faiss is compiled for x86-64 with SSE2 unless told otherwise, several times slower than with AVX2: put
//!   `CXXFLAGS_x86_64_unknown_linux_gnu = "-march=x86-64-v3"` under `[env]` in your own `.cargo/config.toml`; this repository's does not
//!   reach programs that depend on it. The crate's own kernels choose at run time.
//! - tantivy's `MmapDirectory` can lose a commit when the power goes within seconds, and opens whatever the files of an index name.
//!   [`Dense::open`] and its siblings use [`DurableDirectory`] instead; hand one to tantivy where you open an index by other means.
//! - Errors are one type, [`DenseError`]; each message says what was found, where, and what to do.
//! - Default features need no native library.
//!
//! # How it is tested
//! Every search path is held against a plain model through thousands of random steps (`tests/model.rs`); a writer is killed at random
//! moments and its index opened (`tests/kill.rs`); every byte of small files is changed in turn (`tests/flips.rs`); every kernel is
//! held against plain Rust. `benches/` measures it all side by side with faiss.

#[doc(hidden)]
pub mod ann;
mod components;
mod dense;
pub mod device;
mod directory;
pub mod docs;
mod error;
mod field;
pub mod hybrid;
mod info;
mod inner;
#[doc(hidden)]
pub mod kernels;
mod lock;
mod mapping;
mod merge_policy;
mod metric;
mod norm;
mod options;
mod plugin;
pub mod query;
mod rows;
mod schema;
mod warm;

pub use ann::AnnPolicy;
pub use dense::Dense;
pub use device::{Device, DeviceOptions, DeviceUsage};
pub use directory::DurableDirectory;
pub use error::DenseError;
pub use field::{MAX_DIMENSION, TYPE_NAME, VectorField, VectorOptions};
pub use hybrid::{Arm, ArmHit, FusedHit, Fusion, Hybrid, HybridQuery, Ranking};
pub use info::{FieldInfo, IndexInfo, SegmentInfo};
pub use merge_policy::DenseMergePolicy;
pub use metric::{Element, Metric};
pub use options::DenseOptions;
pub use query::{DeviceUse, Hit, IndexUse, KnnOutcome, KnnQuery, SearchPath, SegmentReport};
