//! Searching, for one query or many.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use adam_plugin::engine::FusionName;
use adam_plugin::{Filter, Mode, PluginError, SearchRequest};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::Index;
use crate::errors::{Failure, input, interruption, stopped};
use crate::hits::Hits;
use crate::options::{Names, named};
use crate::progress::Progress;
use crate::texts::texts;

/// How often a call that waits looks for Ctrl-C.
pub(super) const LOOK: Duration = Duration::from_millis(50);

/// A request without its query.
pub(super) struct Request {
    mode: Mode,
    top: usize,
    filters: Vec<Filter>,
    weight: Option<f32>,
    fusion: FusionName,
    window: Option<usize>,
    rerank: Option<usize>,
    shown: Shown,
}

/// What a search gives beside the ranking.
#[derive(Clone, Copy, Default)]
pub(super) struct Shown {
    pub(super) offset: usize,
    pub(super) explain: bool,
    pub(super) snippets: bool,
    pub(super) total: bool,
}

impl Request {
    pub(super) fn new(
        mode: &str,
        top: usize,
        filter: Option<Names>,
        weight: Option<f32>,
        fusion: &str,
        window: Option<usize>,
        rerank: Option<usize>,
    ) -> PyResult<Self> {
        Ok(Self {
            mode: named(mode)?,
            top,
            filters: filters(filter)?,
            weight,
            fusion: named(fusion)?,
            window,
            rerank,
            shown: Shown::default(),
        })
    }

    pub(super) fn shown(self, shown: Shown) -> Self {
        Self { shown, ..self }
    }

    fn of(&self, query: &str) -> SearchRequest {
        SearchRequest::new(query)
            .mode(self.mode)
            .top(self.top)
            .offset(self.shown.offset)
            .window(self.window)
            .total(self.shown.total)
            .filters(self.filters.iter().cloned())
            .weight(self.weight)
            .fusion(self.fusion)
            .explain(self.shown.explain)
            .snippets(self.shown.snippets)
            .rerank(self.rerank)
    }
}

/// Filters as they are written.
pub(crate) fn filters(given: Option<Names>) -> PyResult<Vec<Filter>> {
    let filters = given.map(Names::list).unwrap_or_default();
    filters.iter().map(|filter| Filter::parse(filter).map_err(|error| Failure::from(error).into())).collect()
}

impl Index {
    pub(super) fn search_all<'py>(
        &self,
        py: Python<'py>,
        query: &Bound<'py, PyAny>,
        request: &Request,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (queries, is_one) = texts(query, "query")?;
        let search = |query: &str| self.engine.search(&request.of(query));
        if is_one {
            let query = queries.into_iter().next().unwrap_or_default();
            let response = py.detach(|| search(&query)).map_err(Failure::from)?;
            return Hits::new(py, query, response)?.into_bound_py_any(py);
        }
        let found = py.detach(|| side_by_side(&queries, |query| search(query), |_| Ok(())));
        let all = PyList::empty(py);
        for (query, response) in queries.into_iter().zip(found?) {
            all.append(Hits::new(py, query, response)?)?;
        }
        all.into_bound_py_any(py)
    }

    pub(super) fn rank_all<'py>(
        &self,
        py: Python<'py>,
        queries: &Bound<'py, PyDict>,
        request: &Request,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let mut all: Vec<(String, String)> = Vec::with_capacity(queries.len());
        for (id, text) in queries {
            let pair = id.extract::<String>().and_then(|id| Ok((id, text.extract::<String>()?)));
            all.push(pair.map_err(|_: PyErr| {
                let name = id.repr().map_or_else(|_| "?".to_owned(), |id| id.to_string());
                input(format!("queries: the key {name} and its text must both be str"))
            })?);
        }
        let mut progress = Progress::new(progress, "search", all.len())?;
        let ranked = py.detach(|| {
            side_by_side(&all, |(_, text)| self.engine.rank(&request.of(text)), |done| progress.set(done))
        })?;
        let run = PyDict::new(py);
        for ((id, _), hits) in all.into_iter().zip(ranked) {
            let scores = PyDict::new(py);
            for (document, score) in hits {
                scores.set_item(document, score)?;
            }
            run.set_item(id, scores)?;
        }
        Ok(run)
    }
}

/// Does `work` for each item on one thread for each core; the calling thread reports and looks for Ctrl-C. The interpreter's lock must
/// not be held.
fn side_by_side<I: Sync, T: Send>(
    items: &[I],
    work: impl Fn(&I) -> Result<T, PluginError> + Sync,
    mut finished: impl FnMut(usize) -> PyResult<()>,
) -> PyResult<Vec<T>> {
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get()).min(items.len());
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let mut results: Vec<Option<T>> = items.iter().map(|_| None).collect();
    let mut outcome: PyResult<()> = Ok(());
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        for _ in 0..threads {
            let (sender, next, stop, work) = (sender.clone(), &next, &stop, &work);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { break };
                    if sender.send((index, work(item))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut done = 0;
        loop {
            let step = match receiver.recv_timeout(LOOK) {
                Ok((index, Ok(result))) => {
                    results[index] = Some(result);
                    done += 1;
                    finished(done)
                }
                Ok((index, Err(error))) => Err(Failure::of_plugin(&error, &format!("query {index}: ")).into()),
                Err(mpsc::RecvTimeoutError::Timeout) => interruption().map_or(Ok(()), Err),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            };
            if let Err(fault) = step {
                stop.store(true, Ordering::Relaxed);
                if outcome.is_ok() {
                    outcome = Err(fault);
                }
            }
        }
    });
    outcome?;
    results.into_iter().collect::<Option<Vec<T>>>().ok_or_else(stopped)
}
