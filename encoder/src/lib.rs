//! ONNX text models from a folder: sentence encoders and cross-encoder re-rankers.
//!
//! A model folder is what sentence-transformers saves, with an ONNX file in it. [`SentenceEncoder`] reads from the
//! folder how texts become vectors (prompts, length, pooling, dense layers, normalisation), and refuses, by file and
//! key, a folder that asks for something it does not do. [`PairScorer`] gives a pair of texts one score.
//!
//! ```no_run
//! # #[cfg(feature = "onnx")]
//! # fn main() -> Result<(), adam_encoder::EncoderError> {
//! use adam_encoder::{EncoderOptions, SentenceEncoder, TextEncoder, TextKind};
//!
//! let encoder = SentenceEncoder::open("student", &EncoderOptions::default())?;
//! let query = encoder.encode(&["do crows use tools"], TextKind::Query)?;
//! let documents = encoder.encode(&["Crows bend wire into hooks.", "Ravens nest early."], TextKind::Document)?;
//! for document in &documents {
//!     let similarity: f32 = query[0].iter().zip(document).map(|(a, b)| a * b).sum();
//!     println!("{similarity:.3}");
//! }
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "onnx"))]
//! # fn main() {}
//! ```
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `onnx` | yes | `SentenceEncoder`, `PairScorer` and their options: ONNX Runtime, `tokenizers`, `ndarray` |
//! | `hub` | no | [`Hub::resolve`] downloads models by their Hugging Face name; without it, names are looked up in the local cache only |
//!
//! Without default features the crate is the trait [`TextEncoder`] and its [`EncoderError`], for encoders of another kind: a
//! service, or another runtime.
//!
//! # What a folder holds
//!
//! | file | read for |
//! |---|---|
//! | `modules.json`, `1_Pooling/config.json`, `N_Dense/`, `N_LayerNorm/` | the way from token vectors to the vector, in the older and the newer dialect |
//! | `sentence_bert_config.json`, `tokenizer_config.json`, `config.json` | length in tokens, case, padding |
//! | `config_sentence_transformers.json` | prompts for queries and documents |
//! | `tokenizer.json` | the tokenizer |
//! | `onnx/model.onnx` or `model.onnx` | the model, for [`Precision::F32`] |
//! | `onnx/model_fp16.onnx` or `model_fp16.onnx` | the model, for [`Precision::F16`] |
//! | `onnx/model_quantized.onnx` and other names of it | the model, for [`Precision::Int8`] |
//! | `onnx/model_fused.onnx` | the f32 model in ONNX Runtime's fused operators, for CUDA, where `adam_export.json` names it |
//! | `onnx/model_fused_quantized.onnx` | the int8 one, where there is no other and `adam_export.json` names it |
//!
//! # Speed
//!
//! Texts are sorted by length and share small batches by number of tokens, which run side by side on sessions of one thread each: little
//! is padding, what a batch works on stays in the processor's caches, and no thread waits for another. A batch that is alone gets all
//! threads. [`Precision::Int8`] then more than doubles the speed. `benches/records/` has this beside other libraries, measured by
//! `encoder/tests/parity/speed.py`.
//!
//! [`TextEncoder::encode`] and [`PairScorer::score`] block the thread that calls them: in async code call them by `spawn_blocking` or on
//! threads of their own.
//!
//! # ONNX Runtime
//!
//! The library is found at run time ([`runtime::init`] says where it is looked for); nothing is linked. On CUDA, TF32 is off, so
//! that vectors are the CPU's to 1e-4, and [`Precision::Int8`] is refused, since CUDA has no kernels for it.

#[cfg(feature = "onnx")]
mod batch;
#[cfg(feature = "onnx")]
mod cuda;
mod error;
mod files;
#[cfg(feature = "onnx")]
mod fingerprint;
#[cfg(feature = "onnx")]
mod folder;
mod guard;
#[cfg(any(feature = "onnx", feature = "hub"))]
mod hex;
mod hub;
#[cfg(any(feature = "onnx", feature = "hub"))]
mod limits;
#[cfg(feature = "onnx")]
mod options;
#[cfg(feature = "onnx")]
mod pair;
mod precision;
mod provider;
#[cfg(feature = "onnx")]
pub mod runtime;
#[cfg(feature = "onnx")]
mod sentence;
#[cfg(feature = "onnx")]
mod session;
mod text_encoder;
#[cfg(feature = "onnx")]
mod tokenize;

pub use error::EncoderError;
#[cfg(feature = "onnx")]
pub use folder::{check_pair_folder, check_sentence_folder};
pub use hub::{Hub, ModelName};
#[cfg(feature = "onnx")]
pub use options::EncoderOptions;
#[cfg(feature = "onnx")]
pub use pair::PairScorer;
pub use precision::Precision;
pub use provider::Provider;
#[cfg(feature = "onnx")]
pub use sentence::SentenceEncoder;
pub use text_encoder::{TextEncoder, TextKind};
#[cfg(feature = "onnx")]
pub use tokenize::TextTokenizer;
