//! `PairScorer`: one score for a query and a text.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use adam_encoder::{EncoderError, Hub, PairScorer as Scorer};
use adam_plugin::Reranker;
use numpy::{PyArray1, PyArrayMethods};
use pyo3::prelude::*;

use crate::errors::{Failure, input, stopped};
use crate::options::{self, Names};
use crate::progress::Progress;
use crate::texts::texts;

/// A cross-encoder: reads a query and a text together and says how well the text answers.
///
/// Args:
///     model: Folder in Hugging Face layout with ONNX, or a Hugging Face id.
///     precision: "f32" (default), "int8" or "f16".
///     max_length: Longest pair in tokens. Default: as the folder says.
///     threads: CPU threads; 0, the default, is one for each core.
///     provider: Where it runs, in order of preference. Default: the CPU.
#[pyclass(frozen, module = "adam_search")]
#[derive(Clone)]
pub(crate) struct PairScorer {
    scorer: Arc<Scorer>,
    folder: PathBuf,
}

impl PairScorer {
    pub(crate) fn of_name(py: Python<'_>, model: &Path) -> PyResult<Self> {
        Self::new(py, model.to_path_buf(), None, None, 0, None)
    }

    /// The same model as the re-ranker of an index.
    pub(crate) fn reranker(&self) -> Reranker {
        let scorer = Arc::clone(&self.scorer);
        Reranker::new(scorer.name().to_owned(), move |query, texts| {
            let pairs: Vec<(&str, &str)> = texts.iter().map(|text| (query, *text)).collect();
            scorer.score(&pairs)
        })
    }

    fn run<'py>(
        &self,
        py: Python<'py>,
        pairs: &[(&str, &str)],
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyArray1<f32>>> {
        let array = PyArray1::<f32>::zeros(py, pairs.len(), false);
        let mut scores = array.readwrite();
        let scores = scores.as_slice_mut().map_err(|fault| input(fault.to_string()))?;
        let mut progress = Progress::new(progress, "score", pairs.len())?;
        let mut raised = None;
        let made = py.detach(|| {
            self.scorer.score_into(pairs, scores, &mut |done| match progress.set(done) {
                Ok(()) => ControlFlow::Continue(()),
                Err(fault) => {
                    raised = Some(fault);
                    ControlFlow::Break(())
                }
            })
        });
        match made {
            Ok(()) => Ok(array),
            Err(EncoderError::Stopped) => Err(raised.unwrap_or_else(stopped)),
            Err(error) => Err(Failure::from(error).into()),
        }
    }
}

#[pymethods]
impl PairScorer {
    #[new]
    #[pyo3(signature = (model, *, precision=None, max_length=None, threads=0, provider=None))]
    fn new(
        py: Python<'_>,
        model: PathBuf,
        precision: Option<&str>,
        max_length: Option<usize>,
        threads: usize,
        provider: Option<Names>,
    ) -> PyResult<Self> {
        let options =
            options::running(threads, provider)?.precision(options::precision(precision)?).max_length(max_length);
        options::load_runtime(py)?;
        py.detach(|| {
            let folder = Hub::from_environment().resolve(&model)?;
            Ok(Self { scorer: Arc::new(Scorer::open(&folder, &options)?), folder })
        })
        .map_err(|error: EncoderError| Failure::from(error).into())
    }

    /// Scores pairs of a query and a text.
    ///
    /// Args:
    ///     pairs: A list of (query, text).
    ///     progress: True for a bar of tqdm, a bar of your own, or a function f(done, total).
    ///
    /// Returns:
    ///     A float32 array of shape (n,): raw logits, higher is better.
    #[pyo3(signature = (pairs, *, progress=None))]
    fn score<'py>(
        &self,
        py: Python<'py>,
        pairs: &Bound<'py, PyAny>,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyArray1<f32>>> {
        let mut all: Vec<(String, String)> = Vec::with_capacity(pairs.len().unwrap_or(0));
        for (row, pair) in pairs.try_iter()?.enumerate() {
            let pair =
                pair?.extract().map_err(|_| input(format!("pairs, row {row}: is not a pair (query, text) of str")))?;
            all.push(pair);
        }
        let pairs: Vec<(&str, &str)> = all.iter().map(|(query, text)| (query.as_str(), text.as_str())).collect();
        self.run(py, &pairs, progress)
    }

    /// Puts texts in the order in which they answer a query.
    ///
    /// Args:
    ///     query: The query.
    ///     texts: A list of str, or a column of text.
    ///     top: How many to return. Default: all.
    ///     progress: As of `score`.
    ///
    /// Returns:
    ///     A list of (position in texts, score), the best first.
    #[pyo3(signature = (query, texts, *, top=None, progress=None))]
    fn rank<'py>(
        &self,
        py: Python<'py>,
        query: &str,
        texts: &Bound<'py, PyAny>,
        top: Option<usize>,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Vec<(usize, f32)>> {
        let (texts, _) = self::texts(texts, "texts")?;
        let pairs: Vec<(&str, &str)> = texts.iter().map(|text| (query, text.as_str())).collect();
        let scores = self.run(py, &pairs, progress)?.to_vec().map_err(|fault| input(fault.to_string()))?;
        let mut order: Vec<(usize, f32)> = scores.into_iter().enumerate().collect();
        order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        order.truncate(top.unwrap_or(usize::MAX));
        Ok(order)
    }

    /// Longest pair in tokens.
    #[getter]
    fn max_length(&self) -> usize {
        self.scorer.max_length()
    }

    /// Identifies the function from pair to score.
    #[getter]
    fn fingerprint(&self) -> &str {
        self.scorer.fingerprint()
    }

    /// A short name.
    #[getter]
    fn name(&self) -> &str {
        self.scorer.name()
    }

    /// The model's folder.
    #[getter]
    fn folder(&self) -> PathBuf {
        self.folder.clone()
    }

    fn __repr__(&self) -> String {
        format!("PairScorer({:?}, max_length={})", self.scorer.name(), self.scorer.max_length())
    }
}
