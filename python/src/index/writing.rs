//! Adding, changing and deleting documents, and commits.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};

use adam_plugin::engine::Document;
use adam_plugin::tantivy::TantivyDocument;
use adam_plugin::{EmbeddingWriter, Engine, Filter, OnFailure, PluginError, Progress as Counts, WriterSettings};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::Index;
use super::rows::Rows;
use super::search::LOOK;
use crate::errors::{Failure, input, interruption};
use crate::progress::Progress;
use crate::records::Columns;
use crate::values;

/// Memory of the index writer, in bytes.
const MEMORY: usize = 128 << 20;

/// Documents that are made while the interpreter's lock is held, before they go to the writer.
const PART: usize = 64;

/// The writer, while there is one.
#[derive(Default)]
pub(super) struct Writing {
    writer: Option<EmbeddingWriter>,
    /// What it had done at the last commit.
    committed: Counts,
}

impl Writing {
    fn writer(&mut self, engine: &Engine, on_failure: OnFailure) -> Result<&EmbeddingWriter, PluginError> {
        let writer = match self.writer.take() {
            Some(writer) => writer,
            None => {
                self.committed = Counts::default();
                engine.writer(MEMORY, WriterSettings::default().on_failure(on_failure))?
            }
        };
        Ok(self.writer.insert(writer))
    }
}

fn locked(writing: &Mutex<Writing>) -> MutexGuard<'_, Writing> {
    writing.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Index {
    /// Does `work` with the writer. The interpreter's lock is released before the writer's is waited for.
    fn write<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&EmbeddingWriter) -> Result<T, PluginError> + Send,
    ) -> PyResult<T> {
        py.detach(|| work(locked(&self.writing).writer(&self.engine, self.on_failure)?))
            .map_err(|error| Failure::from(error).into())
    }

    fn made(&self, number: usize, document: Document) -> PyResult<TantivyDocument> {
        self.engine.document(document).map_err(|error| Failure::of_plugin(&error, &format!("row {number}: ")).into())
    }

    pub(super) fn add_rows(
        &self,
        py: Python<'_>,
        given: &Bound<'_, PyAny>,
        columns: &Columns,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<usize> {
        let mut total = 0;
        if Rows::can_be_read_again(given) {
            let mut seen = HashMap::new();
            let mut rows = Rows::new(given, columns)?;
            while let Some((number, document)) = rows.next()? {
                if let Some(first) = seen.insert(document.id.clone(), number) {
                    return Err(input(format!(
                        "row {number}: the id `{}` is that of row {first} as well",
                        document.id
                    )));
                }
                self.made(number, document)?;
                total = number + 1;
                if total % 1024 == 0 {
                    py.check_signals()?;
                }
            }
        }
        let mut progress = Progress::new(progress, "add", total)?;
        let mut rows = Rows::new(given, columns)?;
        // Before an iterator is read, which cannot be read again: whether there can be a writer.
        self.write(py, |_| Ok(()))?;
        let mut done = 0;
        loop {
            let mut part = Vec::with_capacity(PART);
            let mut fault = None;
            while part.len() < PART {
                match rows.next().and_then(|row| row.map(|(number, row)| self.made(number, row)).transpose()) {
                    Ok(Some(document)) => part.push(document),
                    Ok(None) => break,
                    Err(wrong) => {
                        fault = Some(wrong);
                        break;
                    }
                }
            }
            let is_last = part.len() < PART;
            done += part.len();
            self.write(py, |writer| part.into_iter().try_for_each(|document| writer.update_document(document)))?;
            progress.set(done)?;
            if let Some(fault) = fault {
                return Err(fault);
            }
            if is_last {
                return Ok(done);
            }
        }
    }

    pub(super) fn change_rows(&self, py: Python<'_>, given: &Bound<'_, PyAny>, columns: &Columns) -> PyResult<usize> {
        let mut documents = Vec::new();
        for (number, row) in given.try_iter()?.enumerate() {
            let row = row?;
            let wrong = |problem: String| input(format!("row {number}: {problem}"));
            let row = row.cast::<PyDict>().map_err(|_| wrong("is no dict".to_owned()))?;
            documents.push(self.made(number, self.changed(py, row, columns, &wrong)?)?);
        }
        let count = documents.len();
        self.write(py, |writer| documents.into_iter().try_for_each(|document| writer.update_document(document)))?;
        Ok(count)
    }

    /// A document of the index with what a row says of it.
    fn changed(
        &self,
        py: Python<'_>,
        row: &Bound<'_, PyDict>,
        columns: &Columns,
        wrong: &dyn Fn(String) -> PyErr,
    ) -> PyResult<Document> {
        let id_name = columns.id_of(row)?;
        let Some(id) = row.get_item(&id_name)? else {
            return Err(wrong(format!("has no id under `{id_name}`")));
        };
        let id = id.str()?.to_string();
        let Some(mut document) = py.detach(|| self.engine.get(&id)).map_err(Failure::from)? else {
            return Err(wrong(format!("the index has no document `{id}` to change; `add` takes new ones")));
        };
        let mut metadata = document.metadata.take().unwrap_or_default();
        for (key, value) in row {
            let key: String = key.extract().map_err(|_| wrong("has a key that is no str".to_owned()))?;
            let value =
                values::to_json(&value).map_err(|problem| wrong(format!("document `{id}`: `{key}` {problem}")))?;
            let text = |value: serde_json::Value| match value {
                serde_json::Value::String(text) => Ok(text),
                serde_json::Value::Null => Ok(String::new()),
                _ => Err(wrong(format!("document `{id}`: `{key}` is no str"))),
            };
            if key == id_name {
                continue;
            }
            if key == columns.title.as_deref().unwrap_or("title") {
                document.title = text(value)?;
            } else if key == columns.text.as_deref().unwrap_or("text") {
                document.text = text(value)?;
            } else {
                let members = match value {
                    serde_json::Value::Object(members) if key == "metadata" => members,
                    value => [(key, value)].into_iter().collect(),
                };
                for (name, value) in members {
                    if value.is_null() {
                        metadata.remove(&name);
                    } else {
                        metadata.insert(name, value);
                    }
                }
            }
        }
        document.metadata = (!metadata.is_empty()).then_some(metadata);
        Ok(document)
    }

    pub(super) fn delete_rows(&self, py: Python<'_>, ids: &[String], filters: &[Filter]) -> PyResult<()> {
        if ids.is_empty() && filters.is_empty() {
            return Err(input("delete: names neither ids nor filters; nothing is deleted"));
        }
        let matching = self.engine.deletion_query(filters).map_err(Failure::from)?;
        let terms: Vec<_> = ids.iter().map(|id| self.engine.key_term(id)).collect();
        self.write(py, |writer| {
            terms.into_iter().try_for_each(|term| writer.delete_term(term))?;
            matching.map_or(Ok(()), |query| writer.delete_query(query))
        })
    }

    pub(super) fn commit_all(&self, py: Python<'_>) -> PyResult<CommitReport> {
        let Some(pending) = py
            .detach(|| locked(&self.writing).writer.as_ref().map(EmbeddingWriter::start_commit).transpose())
            .map_err(Failure::from)?
        else {
            return Ok(CommitReport::default());
        };
        let (sender, receiver) = mpsc::channel();
        let waiting = std::thread::spawn(move || {
            // Nobody listens any more after Ctrl-C.
            let _ = sender.send(pending.wait());
        });
        let outcome = py.detach(move || {
            loop {
                match receiver.recv_timeout(LOOK) {
                    Ok(outcome) => return outcome.map(drop).map_err(|error| Failure::from(error).into()),
                    Err(mpsc::RecvTimeoutError::Disconnected) => {
                        return Err(PyErr::from(Failure::from(PluginError::WriterGone)));
                    }
                    Err(mpsc::RecvTimeoutError::Timeout) => {
                        if let Some(interruption) = interruption() {
                            if let Some(writer) = &mut locked(&self.writing).writer {
                                writer.rollback().map_err(Failure::from)?;
                            }
                            return Err(interruption);
                        }
                    }
                }
            }
        });
        // It has its answer, or the rollback has taken the question away.
        drop(waiting);
        outcome?;
        py.detach(|| {
            self.engine.reload()?;
            let mut writing = locked(&self.writing);
            let Some(writer) = &writing.writer else { return Ok(CommitReport::default()) };
            let counts = writer.progress();
            let failures = writer.take_failures();
            let before = std::mem::replace(&mut writing.committed, counts);
            Ok(CommitReport {
                documents: counts.documents.saturating_sub(before.documents),
                encoded: counts.encoded.saturating_sub(before.encoded),
                unchanged: counts.unchanged.saturating_sub(before.unchanged),
                reused: counts.reused.saturating_sub(before.reused),
                without_text: counts.without_text.saturating_sub(before.without_text),
                failures: failures.into_iter().map(|failure| (failure.document, failure.problem)).collect(),
            })
        })
        .map_err(|error: PluginError| Failure::from(error).into())
    }

    pub(super) fn roll_back(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| locked(&self.writing).writer.as_mut().map_or(Ok(()), |writer| writer.rollback().map(drop)))
            .map_err(|error| Failure::from(error).into())
    }

    pub(super) fn end_writing(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| {
            let Some(mut writer) = locked(&self.writing).writer.take() else { return Ok(()) };
            // What was not committed is not wanted, and must not be waited for.
            writer.rollback()?;
            writer.wait_merging_threads()
        })
        .map_err(|error| Failure::from(error).into())
    }
}

/// What a commit has done, since the commit before.
#[pyclass(frozen, get_all, module = "adam_search")]
#[derive(Default)]
pub(crate) struct CommitReport {
    /// Documents dealt with, in whatever way.
    documents: u64,
    /// Texts that went through the model.
    encoded: u64,
    /// Documents left as they are, since nothing had changed.
    unchanged: u64,
    /// Documents written anew with the vectors they had, since the embedded text had not changed.
    reused: u64,
    /// Documents without a text and without a vector, which no search by vectors finds.
    without_text: u64,
    /// Documents that failed and were left out or indexed as text only: (id, problem).
    failures: Vec<(String, String)>,
}

#[pymethods]
impl CommitReport {
    fn __repr__(&self) -> String {
        format!(
            "CommitReport(documents={}, encoded={}, unchanged={}, reused={}, without_text={}, failures={})",
            self.documents,
            self.encoded,
            self.unchanged,
            self.reused,
            self.without_text,
            self.failures.len()
        )
    }
}
