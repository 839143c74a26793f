//! ONNX text models from a folder: sentence encoders and cross-encoder re-rankers.
//!
//! A model folder is what sentence-transformers saves, with an ONNX file in it. [`SentenceEncoder`] reads from the
//! folder how texts become vectors (prompts, length, pooling, dense layers, normalisation), and refuses, by file and
//! key, a folder that asks for something it does not do. [`PairScorer`] gives a pair of texts one score.
//!
//! ```no_run
//! use adam_encoder::{EncoderOptions, SentenceEncoder, TextEncoder, TextKind};
//!
//! # fn main() -> Result<(), adam_encoder::EncoderError> {
//! let encoder = SentenceEncoder::open("student".as_ref(), &EncoderOptions::default())?;
//! let query = encoder.encode(&["do crows use tools"], TextKind::Query)?;
//! let documents = encoder.encode(&["Crows bend wire into hooks.", "Ravens nest early."], TextKind::Document)?;
//! for document in &documents {
//!     let similarity: f32 = query[0].iter().zip(document).map(|(a, b)| a * b).sum();
//!     println!("{similarity:.3}");
//! }
//! # Ok(())
//! # }
//! ```
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

mod batch;
mod cuda;
mod error;
mod fingerprint;
mod folder;
mod guard;
mod hub;
mod options;
mod pair;
pub mod runtime;
mod sentence;
mod session;
mod tokenize;

pub use error::EncoderError;
pub use folder::{check_pair_folder, check_sentence_folder};
pub use hub::{Hub, ModelName};
pub use options::{EncoderOptions, Precision, Provider, TextEncoder, TextKind};
pub use pair::PairScorer;
pub use sentence::SentenceEncoder;
pub use tokenize::TextTokenizer;
