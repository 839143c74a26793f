//! `Encoder`: texts to vectors in NumPy arrays.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use adam_encoder::{EncoderError, Hub, SentenceEncoder, TextEncoder, TextKind};
use adam_plugin::PinnedModel;
use numpy::{PyArray1, PyArray2, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;

use crate::errors::{Failure, input, stopped};
use crate::options::{self, Names};
use crate::progress::Progress;
use crate::texts::texts;

/// A sentence encoder: texts become vectors.
///
/// Args:
///     model: Folder in sentence-transformers layout with ONNX, or a Hugging Face id.
///     precision: Numbers it computes in: "f32" (default), "int8" (about twice as fast on a CPU) or "f16" (for GPUs).
///     max_length: Longest text in tokens; what is longer is cut off. Default: as the folder says.
///     query_prompt: Text put before every query. Default: as the folder says.
///     document_prompt: Text put before every document. Default: as the folder says.
///     normalize: Whether vectors have length 1. Default: as the folder says.
///     threads: CPU threads; 0, the default, is one for each core.
///     provider: Where it runs, in order of preference, such as ["cuda", "cpu"]. Default: the CPU.
///
/// One encoder serves any number of threads.
#[pyclass(frozen, module = "adam_search")]
#[derive(Clone)]
pub(crate) struct Encoder {
    pub(crate) encoder: Arc<SentenceEncoder>,
    pub(crate) pinned: PinnedModel,
    folder: PathBuf,
}

impl Encoder {
    pub(crate) fn of_name(py: Python<'_>, model: &Path) -> PyResult<Self> {
        Self::new(py, model.to_path_buf(), None, None, None, None, None, 0, None)
    }

    fn run(
        &self,
        py: Python<'_>,
        texts: &[String],
        kind: TextKind,
        rows: &mut [f32],
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let mut progress = Progress::new(progress, "encode", texts.len())?;
        let mut raised = None;
        let made = py.detach(|| {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            self.encoder.encode_into(&texts, kind, rows, &mut |done| match progress.set(done) {
                Ok(()) => ControlFlow::Continue(()),
                Err(fault) => {
                    raised = Some(fault);
                    ControlFlow::Break(())
                }
            })
        });
        match made {
            Err(EncoderError::Stopped) => Err(raised.unwrap_or_else(stopped)),
            made => made.map_err(|error| Failure::from(error).into()),
        }
    }
}

#[pymethods]
impl Encoder {
    #[new]
    #[pyo3(signature = (model, *, precision=None, max_length=None, query_prompt=None, document_prompt=None, normalize=None, threads=0, provider=None))]
    #[allow(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn new(
        py: Python<'_>,
        model: PathBuf,
        precision: Option<&str>,
        max_length: Option<usize>,
        query_prompt: Option<String>,
        document_prompt: Option<String>,
        normalize: Option<bool>,
        threads: usize,
        provider: Option<Names>,
    ) -> PyResult<Self> {
        let precision = options::precision(precision)?;
        let options = options::running(threads, provider)?
            .precision(precision)
            .max_length(max_length)
            .query_prompt(query_prompt)
            .document_prompt(document_prompt)
            .normalize(normalize);
        options::load_runtime(py)?;
        py.detach(|| {
            let folder = Hub::from_environment().resolve(&model)?;
            let encoder = SentenceEncoder::open(&folder, &options)?;
            let pinned = PinnedModel::of_folder(&encoder, &folder, precision, max_length);
            Ok(Self { encoder: Arc::new(encoder), pinned, folder })
        })
        .map_err(|error: EncoderError| Failure::from(error).into())
    }

    /// Encodes texts.
    ///
    /// Args:
    ///     texts: A list of str, or a column of text (Arrow, polars, pandas). One str gives one vector.
    ///     kind: "document" (or "passage") or "query": the model may put another prompt before queries.
    ///     out: A C-contiguous float32 array of shape (n, d) to write to, e.g. a part of a numpy.memmap.
    ///     progress: True for a bar of tqdm, a bar of your own, or a function f(done, total).
    ///
    /// Returns:
    ///     A float32 array of shape (n, d), or (d,) for one str. The model's rows are written to its memory once; no copy is made.
    ///
    /// Ctrl-C ends it after the batch at hand.
    #[pyo3(signature = (texts, *, kind="document", out=None, progress=None))]
    fn encode<'py>(
        &self,
        py: Python<'py>,
        texts: &Bound<'py, PyAny>,
        kind: &str,
        out: Option<&Bound<'py, PyAny>>,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let kind = options::kind(kind)?;
        let (texts, is_one) = self::texts(texts, "texts")?;
        let dimension = self.encoder.dimension();
        if let Some(out) = out {
            let shape = [texts.len(), dimension];
            let array = out_array(out, shape)?;
            let mut rows =
                array.try_readwrite().map_err(|_| input("out: the array is read-only, or in use by another call"))?;
            let rows = rows.as_slice_mut().map_err(|_| input("out: the array is not C-contiguous"))?;
            self.run(py, &texts, kind, rows, progress)?;
            return Ok(out.clone());
        }
        if is_one {
            let array = PyArray1::<f32>::zeros(py, dimension, false);
            let mut row = array.readwrite();
            self.run(py, &texts, kind, row.as_slice_mut().map_err(|fault| input(fault.to_string()))?, progress)?;
            return array.into_bound_py_any(py);
        }
        let array = PyArray2::<f32>::zeros(py, [texts.len(), dimension], false);
        let mut rows = array.readwrite();
        self.run(py, &texts, kind, rows.as_slice_mut().map_err(|fault| input(fault.to_string()))?, progress)?;
        array.into_bound_py_any(py)
    }

    /// Encodes queries: `encode` with kind="query".
    #[pyo3(signature = (texts, *, out=None, progress=None))]
    fn encode_query<'py>(
        &self,
        py: Python<'py>,
        texts: &Bound<'py, PyAny>,
        out: Option<&Bound<'py, PyAny>>,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.encode(py, texts, "query", out, progress)
    }

    /// Encodes documents: `encode` with kind="document".
    #[pyo3(signature = (texts, *, out=None, progress=None))]
    fn encode_document<'py>(
        &self,
        py: Python<'py>,
        texts: &Bound<'py, PyAny>,
        out: Option<&Bound<'py, PyAny>>,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.encode(py, texts, "document", out, progress)
    }

    /// Number of values in a vector.
    #[getter]
    fn dimension(&self) -> usize {
        self.encoder.dimension()
    }

    /// Longest text in tokens, special tokens and prompt included.
    #[getter]
    fn max_length(&self) -> usize {
        self.encoder.max_length()
    }

    /// Identifies the function from text to vector: equal fingerprints give equal vectors.
    #[getter]
    fn fingerprint(&self) -> &str {
        self.encoder.fingerprint()
    }

    /// A short name.
    #[getter]
    fn name(&self) -> &str {
        self.encoder.name()
    }

    /// The model's folder.
    #[getter]
    fn folder(&self) -> PathBuf {
        self.folder.clone()
    }

    fn __repr__(&self) -> String {
        format!(
            "Encoder({:?}, dimension={}, max_length={}, precision=\"{}\")",
            self.encoder.name(),
            self.encoder.dimension(),
            self.encoder.max_length(),
            self.pinned.precision
        )
    }
}

/// The array to write to, if it is one of this shape.
fn out_array<'a, 'py>(out: &'a Bound<'py, PyAny>, shape: [usize; 2]) -> PyResult<&'a Bound<'py, PyArray2<f32>>> {
    let array = out.cast::<PyArray2<f32>>().map_err(|_| {
        let given = out.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
        input(format!(
            "out: a NumPy array of float32 with two dimensions is needed, and this is a {given} of another kind"
        ))
    })?;
    if array.shape() != shape {
        let given = array.shape();
        return Err(input(format!(
            "out: has the shape {given:?}, and {} texts of {} values need {shape:?}",
            shape[0], shape[1]
        )));
    }
    if !array.is_c_contiguous() {
        return Err(input("out: the array is not C-contiguous"));
    }
    Ok(array)
}
