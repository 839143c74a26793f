//! `Index`: one folder with text, vectors and a model.

mod rows;
mod search;
mod writing;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use adam_encoder::{EncoderError, SentenceEncoder, TextKind};
use adam_plugin::{Chunking, Engine, EngineBuilder, Language, OnFailure, Reranker};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

pub(crate) use search::filters;
pub(crate) use writing::CommitReport;

use crate::encoder::Encoder;
use crate::errors::{Failure, input};
use crate::gather;
use crate::options::{self, Names, named};
use crate::pair_scorer::PairScorer;
use crate::records::Columns;
use crate::values;
use search::{Request, Shown};
use writing::Writing;

/// An index: documents with their text for BM25 and a vector for each, in one folder. Any number of threads may search it.
///
/// `Index.create` makes one, `Index.open` opens one. In a `with` block, what was added is committed at the end, or rolled back if
/// the block raises.
#[pyclass(frozen, module = "adam_search")]
pub(crate) struct Index {
    engine: Arc<Engine>,
    writing: Arc<Mutex<Writing>>,
    on_failure: OnFailure,
}

/// A re-ranker: a model, its name, or a function of query and texts.
fn reranker(given: &Bound<'_, PyAny>) -> PyResult<Arc<Reranker>> {
    if let Ok(scorer) = given.cast::<PairScorer>() {
        return Ok(Arc::new(scorer.get().reranker()));
    }
    if given.is_callable() {
        let function = given.clone().unbind();
        let name = given.getattr("__name__").map_or_else(|_| "function".to_owned(), |name| name.to_string());
        return Ok(Arc::new(Reranker::new(name, move |query, texts| {
            Python::attach(|py| function.call1(py, (query, texts.to_vec()))?.extract::<Vec<f32>>(py))
                .map_err(|fault| EncoderError::other(fault.to_string()))
        })));
    }
    let model: PathBuf = given.extract().map_err(|_| {
        input("reranker: a PairScorer, the name or folder of one, or a function of (query, texts) is needed".to_owned())
    })?;
    Ok(Arc::new(PairScorer::of_name(given.py(), &model)?.reranker()))
}

impl Index {
    fn new(engine: Engine, on_failure: OnFailure) -> Self {
        Self { engine: Arc::new(engine), writing: Arc::new(Mutex::new(Writing::default())), on_failure }
    }
}

/// What was asked for, if the model can read chunks that long.
fn chunking(encoder: &SentenceEncoder, tokens: Option<usize>, overlap: Option<usize>) -> PyResult<Option<Chunking>> {
    let Some(tokens) = tokens else {
        return match overlap {
            Some(_) => {
                Err(input("chunk_overlap is for chunks, and there are none without chunk_tokens; give both or neither"))
            }
            None => Ok(None),
        };
    };
    let most = encoder.room(TextKind::Document);
    if tokens > most {
        let problem = format!(
            "chunk_tokens={tokens}: the model reads {most} tokens of a text, so the end of every chunk would be lost"
        );
        return Err(input(problem));
    }
    let mut chunking = Chunking::new(tokens);
    chunking.overlap = overlap.unwrap_or(chunking.overlap);
    Ok(Some(chunking))
}

#[pymethods]
impl Index {
    /// Makes an index.
    ///
    /// Args:
    ///     path: Its folder; made if it is not there.
    ///     model: An Encoder, a model's folder, or a Hugging Face id. It is pinned in the index.
    ///     language: Language of the text for stemming and stop words, by name or code; "any" for several. Default: english.
    ///     chunk_tokens: Split long documents into chunks of at most so many tokens, each with a vector. Default: one vector a
    ///         document.
    ///     chunk_overlap: Tokens that a chunk shares with the one before. Default: an eighth of a chunk.
    ///     reranker: A PairScorer, the name of one, or a function of (query, texts) that returns scores.
    ///     on_failure: What happens to a document whose text cannot be encoded: "fail", "skip" or "text-only".
    ///     exist_ok: Open the index if it is there, in place of an error. It must have the same model and options.
    #[staticmethod]
    #[pyo3(signature = (path, model, *, language=None, chunk_tokens=None, chunk_overlap=None, reranker=None, on_failure="fail", exist_ok=false))]
    #[allow(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn create(
        py: Python<'_>,
        path: PathBuf,
        model: &Bound<'_, PyAny>,
        language: Option<&str>,
        chunk_tokens: Option<usize>,
        chunk_overlap: Option<usize>,
        reranker: Option<&Bound<'_, PyAny>>,
        on_failure: &str,
        exist_ok: bool,
    ) -> PyResult<Self> {
        let on_failure = named(on_failure)?;
        let language = language.map(named::<Language>).transpose()?;
        if !exist_ok && Engine::exists(&path).map_err(Failure::from)? {
            let path = path.display();
            return Err(input(format!(
                "{path}: there is an index already; open it by Index.open(path), or pass exist_ok=True"
            )));
        }
        let reranker = reranker.map(self::reranker).transpose()?;
        let model = encoder(model)?;
        let chunks = chunking(&model.encoder, chunk_tokens, chunk_overlap)?;
        py.detach(|| {
            let mut builder = Engine::builder(&path).encoder(model.encoder).pinned(model.pinned);
            if let Some(language) = language {
                builder = builder.language(language);
            }
            if let Some(chunking) = chunks {
                builder = builder.chunks(chunking);
            }
            if let Some(reranker) = reranker {
                builder = builder.reranker(reranker);
            }
            builder.open_or_create()
        })
        .map(|engine| Self::new(engine, on_failure))
        .map_err(|error| Failure::from(error).into())
    }

    /// Opens an index.
    ///
    /// Args:
    ///     path: Its folder.
    ///     model: Its model, if that has moved since the index was made: an Encoder, a folder, or a Hugging Face id.
    ///     reranker: As of `create`.
    ///     threads: CPU threads of the model; 0, the default, is one for each core.
    ///     provider: Where the model runs. Default: the CPU.
    ///     lexical: Open the index without its model: only mode="bm25" can be searched by, and nothing be written.
    ///     on_failure: As of `create`.
    #[staticmethod]
    #[pyo3(signature = (path, *, model=None, reranker=None, threads=0, provider=None, lexical=false, on_failure="fail"))]
    #[allow(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn open(
        py: Python<'_>,
        path: PathBuf,
        model: Option<&Bound<'_, PyAny>>,
        reranker: Option<&Bound<'_, PyAny>>,
        threads: usize,
        provider: Option<Names>,
        lexical: bool,
        on_failure: &str,
    ) -> PyResult<Self> {
        let on_failure = named(on_failure)?;
        let options = options::running(threads, provider)?;
        let reranker = reranker.map(self::reranker).transpose()?;
        let with_model = |builder: EngineBuilder| -> PyResult<EngineBuilder> {
            if lexical {
                return Ok(builder);
            }
            if let Some(open) = model.and_then(|model| model.cast::<Encoder>().ok()) {
                return Ok(builder.encoder(open.get().encoder.clone()));
            }
            options::load_runtime(py)?;
            let folder: Option<PathBuf> = model.map(|model| model.extract()).transpose()?;
            Ok(builder.pinned_encoder(folder.as_deref(), options))
        };
        let mut builder = with_model(Engine::builder(&path))?;
        if let Some(reranker) = reranker {
            builder = builder.reranker(reranker);
        }
        py.detach(|| builder.open())
            .map(|engine| Self::new(engine, on_failure))
            .map_err(|error| Failure::from(error).into())
    }

    /// Whether a folder holds an index.
    #[staticmethod]
    fn exists(py: Python<'_>, path: PathBuf) -> PyResult<bool> {
        py.detach(|| Engine::exists(&path)).map_err(|error| Failure::from(error).into())
    }

    /// Adds documents; one with an id that is there replaces it. They are visible and safe after `commit`.
    ///
    /// Args:
    ///     rows: A table (Arrow, polars, pandas) or dicts, each with an id and a text and, as far as there are such, a title, a vector
    ///         made by the index's model, and metadata to filter by.
    ///     id: Column or key of the id. Default: `_id`, else `id`.
    ///     title: Column or key of the title. Default: `title`.
    ///     text: Column or key of the text. Default: `text`.
    ///     vector: Column or key of the vector. Default: `vector`. Documents without one are encoded.
    ///     keep: Columns or keys that become metadata. Default: all others.
    ///     progress: True for a bar of tqdm, a bar of your own, or a function f(done, total).
    ///
    /// Returns:
    ///     The number of documents.
    ///
    /// What has a length, a list or a table, is checked as a whole first: if a row is wrong, nothing is added. Of an iterator or a
    /// stream, the rows before the wrong one stay added, and `rollback` removes them.
    #[pyo3(signature = (rows, *, id=None, title=None, text=None, vector=None, keep=None, progress=None))]
    #[allow(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn add(
        &self,
        py: Python<'_>,
        rows: &Bound<'_, PyAny>,
        id: Option<String>,
        title: Option<String>,
        text: Option<String>,
        vector: Option<String>,
        keep: Option<Vec<String>>,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<usize> {
        self.add_rows(py, rows, &Columns { id, title, text, vector, keep }, progress)
    }

    /// Changes parts of documents that are in the index: a title, a text, members of the metadata. What a row does not name stays.
    ///
    /// Args:
    ///     rows: Dicts, each with an id and what changes. None removes a member of the metadata.
    ///     id, title, text: As of `add`.
    ///
    /// Returns:
    ///     The number of documents.
    ///
    /// Every id must be in the index as it was last committed; else nothing is changed. A text is encoded again only if it differs.
    #[pyo3(signature = (rows, *, id=None, title=None, text=None))]
    fn update(
        &self,
        py: Python<'_>,
        rows: &Bound<'_, PyAny>,
        id: Option<String>,
        title: Option<String>,
        text: Option<String>,
    ) -> PyResult<usize> {
        self.change_rows(py, rows, &Columns { id, title, text, vector: None, keep: None })
    }

    /// Deletes documents, by ids, by filters, or both; gone after `commit`.
    ///
    /// Args:
    ///     ids: An id, or a list of them.
    ///     filter: A filter, or a list of them, all of which must match.
    #[pyo3(signature = (ids=None, *, filter=None))]
    fn delete(&self, py: Python<'_>, ids: Option<Names>, filter: Option<Names>) -> PyResult<()> {
        let ids = ids.map(Names::list).unwrap_or_default();
        let filters = search::filters(filter)?;
        self.delete_rows(py, &ids, &filters)
    }

    /// Encodes what is waiting, and makes all that was added and deleted visible and safe on disk.
    ///
    /// Ctrl-C rolls back to the last commit.
    fn commit(&self, py: Python<'_>) -> PyResult<CommitReport> {
        self.commit_all(py)
    }

    /// Forgets all since the last commit.
    fn rollback(&self, py: Python<'_>) -> PyResult<()> {
        self.roll_back(py)
    }

    /// Ends writing: waits for merges, and lets other programs write. What was not committed is lost. The index can be used further.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.end_writing(py)
    }

    fn __enter__(this: Py<Self>) -> Py<Self> {
        this
    }

    #[pyo3(signature = (kind, value, traceback, /))]
    fn __exit__(
        &self,
        py: Python<'_>,
        kind: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        traceback: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let _ = (value, traceback);
        if kind.is_none() {
            self.commit_all(py)?;
        }
        self.end_writing(py)?;
        Ok(false)
    }

    /// The vector of a query, for `Request`.
    fn encode_query(&self, py: Python<'_>, query: &str) -> PyResult<Vec<f32>> {
        Ok(py.detach(|| self.engine.encode_query(query)).map_err(Failure::from)?)
    }

    /// What a search over the shards of an index needs to know of this one first, for `Gathering`.
    fn statistics<'py>(&self, py: Python<'py>, request: &gather::Request) -> PyResult<Bound<'py, PyBytes>> {
        gather::statistics(py, &self.engine, request)
    }

    /// What this shard finds, for `Gathering.add`.
    ///
    /// Args:
    ///     request: The search.
    ///     statistics: `Gathering.statistics`.
    ///     window: `Gathering.window`.
    fn candidates<'py>(
        &self,
        py: Python<'py>,
        request: &gather::Request,
        statistics: &[u8],
        window: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        gather::candidates(py, &self.engine, request, statistics, window)
    }

    /// What is shown of documents of this shard, for `Gathering.hits`.
    ///
    /// Args:
    ///     request: The search.
    ///     ids: Those of `Gathering.ids` that are of this shard.
    fn fetch<'py>(
        &self,
        py: Python<'py>,
        request: &gather::Request,
        ids: Vec<String>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        gather::fetch(py, &self.engine, request, &ids)
    }

    /// Searches.
    ///
    /// Args:
    ///     query: The query, or a list of them; they are searched for side by side.
    ///     mode: "hybrid" (default), "bm25" (words) or "dense" (vectors).
    ///     top: Number of hits.
    ///     offset: Hits to pass over: those of the pages before.
    ///     filter: A filter such as "year:2019.. AND lang:en", or a list of them, all of which must match.
    ///     weight: Weight of the vectors in a hybrid search, 0 to 1. Default: `hybrid_weight`.
    ///     fusion: How a hybrid search makes one ranking of two: "convex", "rrf", "min-max", "z-score" or "dbsf".
    ///     window: How many candidates each arm brings to the fusion first. Default: 200 in a hybrid search.
    ///     explain: Whether hits say where their scores come from.
    ///     snippets: Whether hits have a piece of their text.
    ///     total: Whether to count the documents on all pages.
    ///     rerank: How many of the best hits the re-ranker puts in a new order.
    ///
    /// Returns:
    ///     Hits, or a list of them for a list of queries.
    #[pyo3(signature = (query, *, mode="hybrid", top=10, offset=0, filter=None, weight=None, fusion="convex", window=None, explain=false, snippets=true, total=false, rerank=None))]
    #[allow(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn search<'py>(
        &self,
        py: Python<'py>,
        query: &Bound<'py, PyAny>,
        mode: &str,
        top: usize,
        offset: usize,
        filter: Option<Names>,
        weight: Option<f32>,
        fusion: &str,
        window: Option<usize>,
        explain: bool,
        snippets: bool,
        total: bool,
        rerank: Option<usize>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let request = Request::new(mode, top, filter, weight, fusion, window, rerank)?;
        self.search_all(py, query, &request.shown(Shown { offset, explain, snippets, total }))
    }

    /// Ranks documents for an evaluation: only ids and scores.
    ///
    /// Args:
    ///     queries: A dict from the id of a query to its text. One without text finds nothing.
    ///     mode, filter, weight, fusion, window, rerank: As of `search`.
    ///     top: Number of documents for each query.
    ///     progress: True for a bar of tqdm, a bar of your own, or a function f(done, total).
    ///
    /// Returns:
    ///     A run for `evaluate`: a dict from the id of a query to a dict from document to score, the best first.
    #[pyo3(signature = (queries, *, mode="hybrid", top=100, filter=None, weight=None, fusion="convex", window=None, rerank=None, progress=None))]
    #[allow(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn rank<'py>(
        &self,
        py: Python<'py>,
        queries: &Bound<'py, PyDict>,
        mode: &str,
        top: usize,
        filter: Option<Names>,
        weight: Option<f32>,
        fusion: &str,
        window: Option<usize>,
        rerank: Option<usize>,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let request = Request::new(mode, top, filter, weight, fusion, window, rerank)?;
        self.rank_all(py, queries, &request, progress)
    }

    /// A document by its id, as it was last committed: a dict with id, title, text and metadata; None if there is none.
    fn get<'py>(&self, py: Python<'py>, id: &str) -> PyResult<Option<Bound<'py, PyDict>>> {
        let Some(document) = py.detach(|| self.engine.get(id)).map_err(Failure::from)? else { return Ok(None) };
        let dict = PyDict::new(py);
        dict.set_item("id", document.id)?;
        dict.set_item("title", document.title)?;
        dict.set_item("text", document.text)?;
        dict.set_item("metadata", values::object(py, &document.metadata.unwrap_or_default())?)?;
        Ok(Some(dict))
    }

    /// The ids of all documents, as they were last committed.
    fn ids(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let mut ids = Vec::new();
        py.detach(|| {
            self.engine.for_each_id(|id| {
                ids.push(id.to_owned());
                Ok(())
            })
        })
        .map_err(Failure::from)?;
        Ok(ids)
    }

    /// Shows searches what other programs have committed; without it they see it a moment later.
    fn reload(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.engine.reload()).map_err(|error| Failure::from(error).into())
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        py.detach(|| usize::try_from(self.engine.num_docs()).unwrap_or(usize::MAX))
    }

    fn __contains__(&self, py: Python<'_>, id: &str) -> PyResult<bool> {
        py.detach(|| self.engine.get(id)).map(|found| found.is_some()).map_err(|error| Failure::from(error).into())
    }

    /// An index without documents is an index.
    fn __bool__(&self) -> bool {
        true
    }

    /// Its folder.
    #[getter]
    fn path(&self) -> &Path {
        self.engine.path()
    }

    /// The name of its model.
    #[getter]
    fn model(&self) -> &str {
        &self.engine.manifest().model.name
    }

    /// Number of values in its vectors.
    #[getter]
    fn dimension(&self) -> usize {
        self.engine.manifest().model.dimension
    }

    /// The language of its text; None if it has fields of its own.
    #[getter]
    fn language(&self) -> Option<String> {
        self.engine.language().map(|language| language.to_string())
    }

    /// Weight of the vectors in hybrid searches that name none.
    #[getter]
    fn hybrid_weight(&self) -> f32 {
        self.engine.hybrid_weight()
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let path = self.engine.path().display().to_string();
        let (documents, model) = (self.__len__(py), &self.engine.manifest().model);
        format!("Index({path:?}, {documents} documents, model {:?} of {} values)", model.name, model.dimension)
    }
}

/// The model of a new index.
fn encoder(given: &Bound<'_, PyAny>) -> PyResult<Encoder> {
    if let Ok(open) = given.cast::<Encoder>() {
        return Ok(open.get().clone());
    }
    let Ok(name) = given.extract::<PathBuf>() else {
        let name = given.get_type().name()?;
        return Err(input(format!("model: an Encoder, a folder or a Hugging Face id is needed, and this is a {name}")));
    };
    Encoder::of_name(given.py(), &name)
}
