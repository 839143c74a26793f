//! The largest files that are read or downloaded, by kind.

/// Largest configuration file, in bytes; honest ones have a few kilobytes.
pub(crate) const CONFIG_LIMIT: u64 = 4 << 20;

/// Largest `tokenizer.json`, in bytes; the largest known ones have about 35 MB.
pub(crate) const TOKENIZER_LIMIT: u64 = 128 << 20;

/// Largest weight file of a layer, in bytes.
pub(crate) const WEIGHT_LIMIT: u64 = 1 << 30;

/// Largest ONNX file, in bytes: protobuf cannot hold more.
pub(crate) const ONNX_LIMIT: u64 = 2 << 30;

/// Largest file of weights beside a model, in bytes.
pub(crate) const EXTERNAL_LIMIT: u64 = 64 << 30;
