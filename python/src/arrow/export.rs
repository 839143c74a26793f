//! Hits as an Arrow table for other programs.

use std::sync::Arc;

use adam_plugin::SearchResponse;
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::{ArrayRef, Float32Array, RecordBatch, RecordBatchIterator, StringArray, UInt64Array};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::errors::exception;

/// A capsule with a stream of one batch: id, title, score, rank, snippet, metadata (as JSON text), and score and rank by each arm.
pub(crate) fn capsule_of<'py>(py: Python<'py>, response: &SearchResponse) -> PyResult<Bound<'py, PyCapsule>> {
    let batch = table(response).map_err(|fault| exception(crate::errors::Class::Adam, fault.to_string()))?;
    let schema = batch.schema();
    let stream = FFI_ArrowArrayStream::new(Box::new(RecordBatchIterator::new([Ok(batch)], schema)));
    PyCapsule::new_with_value(py, stream, c"arrow_array_stream")
}

fn table(response: &SearchResponse) -> Result<RecordBatch, ArrowError> {
    let hits = &response.hits;
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    let mut add = |name: &str, kind: DataType, optional: bool, column: ArrayRef| {
        fields.push(Field::new(name, kind, optional));
        columns.push(column);
    };
    let texts = |values: Vec<Option<String>>| -> ArrayRef { Arc::new(StringArray::from(values)) };
    add("id", DataType::Utf8, false, texts(hits.iter().map(|hit| Some(hit.id.clone())).collect()));
    add("title", DataType::Utf8, true, texts(hits.iter().map(|hit| hit.title.clone()).collect()));
    let scores: Vec<f32> = hits.iter().map(|hit| hit.score).collect();
    add("score", DataType::Float32, false, Arc::new(Float32Array::from(scores)));
    let snippets = hits.iter().map(|hit| hit.snippet.as_ref().map(|snippet| snippet.text.clone())).collect();
    add("snippet", DataType::Utf8, true, texts(snippets));
    let metadata = hits.iter().map(|hit| hit.metadata.as_ref().and_then(|map| serde_json::to_string(map).ok()));
    add("metadata", DataType::Utf8, true, texts(metadata.collect()));
    for name in ["bm25", "dense", "rerank"] {
        let arms: Vec<_> = hits.iter().map(|hit| hit.arms.iter().find(|arm| arm.name == name)).collect();
        if arms.iter().all(Option::is_none) {
            continue;
        }
        let scores: Vec<Option<f32>> = arms.iter().map(|arm| arm.and_then(|arm| arm.raw)).collect();
        add(&format!("{name}_score"), DataType::Float32, true, Arc::new(Float32Array::from(scores)));
        let ranks: Vec<Option<u64>> =
            arms.iter().map(|arm| arm.and_then(|arm| arm.rank).map(|rank| rank as u64)).collect();
        add(&format!("{name}_rank"), DataType::UInt64, true, Arc::new(UInt64Array::from(ranks)));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}
