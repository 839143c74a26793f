//! A search over shards that are open in several processes: what each is asked, and one ranking of the answers.

use std::path::PathBuf;

use adam_plugin::engine::gather::{Candidates, GatheredSearch, Statistics};
use adam_plugin::shards::Shards;
use adam_plugin::{Engine, Hit, PluginError, SearchRequest};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::errors::{Failure, input};
use crate::hits::Hits;
use crate::index::filters;
use crate::options::{Names, named};

/// Which shards an index has: its generation, the fingerprint of its model, and the folders of the shards. None for an index in one piece.
///
/// Every shard is looked at: one that is missing, or of another generation or model, is an error.
///
/// Args:
///     index: Folder of the index.
#[pyfunction]
pub(crate) fn read_shards(py: Python<'_>, index: PathBuf) -> PyResult<Option<(u64, String, Vec<PathBuf>)>> {
    let list = py.detach(|| {
        let list = Shards::open(&index)?;
        list.as_ref().map_or(Ok(()), |list| list.check(&index))?;
        Ok(list)
    });
    let list = list.map_err(|error: PluginError| Failure::from(error))?;
    Ok(list.map(|list| (list.generation, list.model.clone(), list.folders(&index))))
}

/// A search for one query, that can be sent to other processes. Its options are those of `Index.search`.
///
/// Args:
///     query: The query.
///     vector: The query's vector, if it is known, so that no shard encodes it again.
#[pyclass(frozen, module = "adam_search._native")]
pub(crate) struct Request {
    given: Py<PyTuple>,
    query: String,
    request: SearchRequest,
}

#[pymethods]
impl Request {
    #[new]
    #[pyo3(signature = (query, mode="hybrid", top=10, offset=0, filter=None, weight=None, fusion="convex", window=None, snippets=true, total=false, vector=None))]
    #[allow(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn new(
        py: Python<'_>,
        query: String,
        mode: &str,
        top: usize,
        offset: usize,
        filter: Option<Names>,
        weight: Option<f32>,
        fusion: &str,
        window: Option<usize>,
        snippets: bool,
        total: bool,
        vector: Option<Vec<f32>>,
    ) -> PyResult<Self> {
        let filter = filter.map(Names::list);
        let given = (&query, mode, top, offset, &filter, weight, fusion, window, snippets, total, &vector);
        let given = given.into_pyobject(py)?.unbind();
        let request = SearchRequest::new(&query)
            .mode(named(mode)?)
            .top(top)
            .offset(offset)
            .filters(filters(filter.map(Names::Several))?)
            .weight(weight)
            .fusion(named(fusion)?)
            .window(window)
            .snippets(snippets)
            .total(total)
            .encoded(vector);
        Ok(Self { given, query, request })
    }

    /// The query.
    #[getter]
    fn query(&self) -> &str {
        &self.query
    }

    /// The vector of the query, if it is known.
    #[getter]
    fn vector<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.given.bind(py).get_item(10)
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> (Bound<'py, PyAny>, Bound<'py, PyTuple>) {
        (py.get_type::<Self>().into_any(), self.given.bind(py).clone())
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        format!("Request{}", self.given.bind(py).repr().map_or_else(|_| "(?)".to_owned(), |given| given.to_string()))
    }
}

/// As bytes for another process.
fn sent<'py, T: Serialize>(py: Python<'py>, value: &T) -> PyResult<Bound<'py, PyBytes>> {
    let bytes = serde_json::to_vec(value).map_err(|fault| input(format!("an answer cannot be sent: {fault}")))?;
    Ok(PyBytes::new(py, &bytes))
}

/// From another process.
fn received<T: DeserializeOwned>(bytes: &[u8], what: &str) -> PyResult<T> {
    serde_json::from_slice(bytes).map_err(|fault| {
        input(format!("these are no {what} that a shard of this version of adam_search gave: {fault}"))
    })
}

fn all_received<T: DeserializeOwned>(answers: &[Vec<u8>], what: &str) -> PyResult<Vec<T>> {
    answers.iter().map(|bytes| received(bytes, what)).collect()
}

/// What `Index.statistics` gives.
pub(crate) fn statistics<'py>(py: Python<'py>, engine: &Engine, request: &Request) -> PyResult<Bound<'py, PyBytes>> {
    let statistics = py.detach(|| engine.statistics(&request.request)).map_err(Failure::from)?;
    sent(py, &statistics)
}

/// What `Index.candidates` gives.
pub(crate) fn candidates<'py>(
    py: Python<'py>,
    engine: &Engine,
    request: &Request,
    statistics: &[u8],
    window: usize,
) -> PyResult<Bound<'py, PyBytes>> {
    let statistics: Statistics = received(statistics, "statistics")?;
    let candidates = py.detach(|| engine.candidates(&request.request, &statistics, window)).map_err(Failure::from)?;
    sent(py, &candidates)
}

/// What `Index.fetch` gives.
pub(crate) fn fetch<'py>(
    py: Python<'py>,
    engine: &Engine,
    request: &Request,
    ids: &[String],
) -> PyResult<Bound<'py, PyBytes>> {
    let hits = py.detach(|| engine.fetch(&request.request, ids)).map_err(Failure::from)?;
    sent(py, &hits)
}

/// One ranking of what all shards of an index find, as the index in one piece would have it.
///
///     gathering = Gathering(request, [shard.statistics(request) for shard in shards])
///     while window := gathering.window:
///         gathering.add([shard.candidates(request, gathering.statistics, window) for shard in shards])
///     hits = gathering.hits([shard.fetch(request, ids) for shard, ids in zip(shards, gathering.ids)])
///
/// Each of the three calls of a shard may be made in another process. Shards come in the same order each time.
///
/// Args:
///     request: The search.
///     statistics: What `Index.statistics` gave for each shard.
#[pyclass(module = "adam_search._native")]
pub(crate) struct Gathering {
    search: GatheredSearch,
    query: String,
    sum: Statistics,
    shards: usize,
}

#[pymethods]
impl Gathering {
    #[new]
    fn new(request: &Request, statistics: Vec<Vec<u8>>) -> PyResult<Self> {
        let sum = Statistics::sum(&all_received(&statistics, "statistics")?).map_err(Failure::from)?;
        let search = GatheredSearch::new(&request.request, &sum).map_err(Failure::from)?;
        Ok(Self { search, query: request.query.clone(), sum, shards: statistics.len() })
    }

    /// The statistics of all shards together.
    #[getter]
    fn statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        sent(py, &self.sum)
    }

    /// How many candidates each shard is asked for next; None once the page is complete.
    #[getter]
    fn window(&self) -> Option<usize> {
        self.search.window()
    }

    /// Takes what `Index.candidates` gave for each shard.
    fn add(&mut self, candidates: Vec<Vec<u8>>) -> PyResult<()> {
        if candidates.len() != self.shards {
            let problem =
                format!("candidates of {} shards were given; the search has {}", candidates.len(), self.shards);
            return Err(input(problem));
        }
        let candidates: Vec<Candidates> = all_received(&candidates, "candidates")?;
        Ok(self.search.add(&candidates).map_err(Failure::from)?)
    }

    /// For each shard, the ids of the page's hits that are there.
    #[getter]
    fn ids(&self) -> Vec<Vec<String>> {
        self.search.keys(self.shards)
    }

    /// The hits, of what `Index.fetch` gave for each shard.
    fn hits(&self, py: Python<'_>, fetched: Vec<Vec<u8>>) -> PyResult<Hits> {
        let fetched: Vec<Vec<Hit>> = all_received(&fetched, "hits")?;
        let response = self.search.response(fetched).map_err(Failure::from)?;
        Hits::new(py, self.query.clone(), response)
    }
}
