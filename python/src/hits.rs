//! Hits, and how they are shown.

use adam_plugin::SearchResponse;
use adam_plugin::engine::{ArmScore, Snippet as Piece};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyDict, PyIterator, PyList};

use crate::{arrow, values};

/// The hits of a search, the best first: a sequence of `Hit`.
#[pyclass(frozen, module = "adam_search")]
pub(crate) struct Hits {
    response: SearchResponse,
    query: String,
    hits: Py<PyList>,
}

impl Hits {
    pub(crate) fn new(py: Python<'_>, query: String, response: SearchResponse) -> PyResult<Self> {
        let hits = PyList::empty(py);
        for hit in &response.hits {
            hits.append(Hit(hit.clone()))?;
        }
        Ok(Self { response, query, hits: hits.unbind() })
    }
}

#[pymethods]
impl Hits {
    fn __len__(&self) -> usize {
        self.response.hits.len()
    }

    fn __getitem__<'py>(&self, py: Python<'py>, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.hits.bind(py).as_any().get_item(index)
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        self.hits.bind(py).try_iter()
    }

    /// The query.
    #[getter]
    fn query(&self) -> &str {
        &self.query
    }

    /// The ids, in order.
    #[getter]
    fn ids(&self) -> Vec<&str> {
        self.response.hits.iter().map(|hit| hit.id.as_str()).collect()
    }

    /// Milliseconds the search took.
    #[getter]
    fn took_ms(&self) -> f64 {
        self.response.took_ms
    }

    /// How many documents there are on all pages, if the search was asked for it.
    #[getter]
    fn total(&self) -> Option<u64> {
        self.response.total
    }

    /// What the search had to say, e.g. about a filter that can match nothing.
    #[getter]
    fn warnings(&self) -> Vec<&str> {
        self.response.warnings.iter().map(String::as_str).collect()
    }

    /// The hits as dicts, as `adam search --json` prints them.
    fn to_dicts<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        self.response.hits.iter().map(|hit| dict(py, hit)).collect()
    }

    /// The hits as a table, for pyarrow.table(hits), polars.DataFrame(hits) and others that speak Arrow's PyCapsule protocol.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        // A producer may ignore it.
        let _ = requested_schema;
        arrow::capsule_of(py, &self.response)
    }

    fn __repr__(&self) -> String {
        let mut out =
            format!("{} hits for {:?} in {:.0} ms", self.response.hits.len(), self.query, self.response.took_ms);
        for (position, hit) in (1..).zip(&self.response.hits) {
            out.push_str(&format!("\n{position:3}. {}", line(hit)));
        }
        out
    }

    fn _repr_html_(&self) -> String {
        let arms: Vec<&str> = ["bm25", "dense", "rerank"]
            .into_iter()
            .filter(|name| self.response.hits.iter().any(|hit| hit.arms.iter().any(|arm| arm.name == *name)))
            .collect();
        let mut out = format!(
            "<table><caption>{} hits for <i>{}</i> in {:.0} ms</caption><thead><tr><th></th><th>document</th><th>score</th>",
            self.response.hits.len(),
            escaped(&self.query),
            self.response.took_ms
        );
        arms.iter().for_each(|arm| out.push_str(&format!("<th>{arm}</th>")));
        out.push_str("</tr></thead><tbody>");
        for (position, hit) in (1..).zip(&self.response.hits) {
            let title = hit.title.as_deref().unwrap_or_default();
            let snippet = hit.snippet.as_ref().map(marked).unwrap_or_default();
            out.push_str(&format!(
                "<tr><td>{position}</td><td style=\"text-align:left\"><b>{}</b> <code>{}</code><br>{snippet}</td><td>{:.4}</td>",
                escaped(title),
                escaped(&hit.id),
                hit.score
            ));
            for name in &arms {
                let cell = hit.arms.iter().find(|arm| arm.name == *name).map(place).unwrap_or_default();
                out.push_str(&format!("<td>{cell}</td>"));
            }
            out.push_str("</tr>");
        }
        out.push_str("</tbody></table>");
        out
    }
}

/// Rank and raw score by an arm.
fn place(arm: &ArmScore) -> String {
    let rank = arm.rank.map_or_else(|| "-".to_owned(), |rank| format!("#{rank}"));
    arm.raw.map_or_else(|| rank.clone(), |raw| format!("{rank} {raw:.3}"))
}

fn line(hit: &adam_plugin::Hit) -> String {
    let title = hit.title.as_deref().filter(|title| !title.trim().is_empty());
    let title =
        title.map_or_else(String::new, |title| format!("{} ", title.split_whitespace().collect::<Vec<_>>().join(" ")));
    let arms: String =
        hit.arms.iter().filter(|_| hit.arms.len() > 1).map(|arm| format!("  {} {}", arm.name, place(arm))).collect();
    format!("{title}[{}] {:.4}{arms}", hit.id, hit.score)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A snippet with its matches marked.
fn marked(snippet: &Piece) -> String {
    let mut out = String::new();
    let mut at = 0;
    for &(start, end) in &snippet.highlights {
        // Ranges come in order; one that overlaps the one before is left unmarked.
        if let (Some(before), Some(word)) = (snippet.text.get(at..start), snippet.text.get(start..end)) {
            out.push_str(&format!("{}<mark>{}</mark>", escaped(before), escaped(word)));
            at = end;
        }
    }
    out.push_str(&escaped(snippet.text.get(at..).unwrap_or_default()));
    out
}

/// A hit as a dict.
fn dict<'py>(py: Python<'py>, hit: &adam_plugin::Hit) -> PyResult<Bound<'py, PyDict>> {
    let value = serde_json::to_value(hit)
        .map_err(|fault| crate::errors::exception(crate::errors::Class::Adam, fault.to_string()))?;
    values::object(py, value.as_object().unwrap_or(&serde_json::Map::new()))
}

/// A document that a search found.
#[pyclass(frozen, module = "adam_search")]
pub(crate) struct Hit(adam_plugin::Hit);

#[pymethods]
impl Hit {
    /// Its id.
    #[getter]
    fn id(&self) -> &str {
        &self.0.id
    }

    /// Its title, where the index has one.
    #[getter]
    fn title(&self) -> Option<&str> {
        self.0.title.as_deref()
    }

    /// Higher is better: BM25, cosine, the fused score, or the re-ranker's logit.
    #[getter]
    fn score(&self) -> f32 {
        self.0.score
    }

    /// A piece of its text.
    #[getter]
    fn snippet(&self) -> Option<Snippet> {
        self.0.snippet.clone().map(Snippet)
    }

    /// What else is known of it.
    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.0.metadata.as_ref().map_or_else(|| Ok(PyDict::new(py)), |map| values::object(py, map))
    }

    /// Rank and score by each arm, e.g. bm25 and dense.
    #[getter]
    fn arms(&self) -> Vec<Arm> {
        self.0.arms.iter().cloned().map(Arm).collect()
    }

    /// Where the score comes from, as a tree of dicts, if the search was asked to explain.
    #[getter]
    fn explanation(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.0.explanation.as_ref().map(|tree| values::to_python(py, tree)).transpose()
    }

    /// The hit as a dict, as `adam search --json` prints it.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        dict(py, &self.0)
    }

    fn __repr__(&self) -> String {
        format!("Hit({})", line(&self.0))
    }
}

/// A piece of a document's text.
#[pyclass(frozen, module = "adam_search")]
pub(crate) struct Snippet(Piece);

#[pymethods]
impl Snippet {
    /// The text.
    #[getter]
    fn text(&self) -> &str {
        &self.0.text
    }

    /// The parts of the text that match the query's words.
    #[getter]
    fn matches(&self) -> Vec<&str> {
        self.0.highlights.iter().filter_map(|&(start, end)| self.0.text.get(start..end)).collect()
    }

    /// Where they are: (start, end) in bytes of the text in UTF-8.
    #[getter]
    fn highlights(&self) -> Vec<(usize, usize)> {
        self.0.highlights.clone()
    }

    /// If it is the document's nearest chunk: (start, end) in bytes of the embedded text.
    #[getter]
    fn chunk(&self) -> Option<(usize, usize)> {
        self.0.chunk
    }

    fn __str__(&self) -> &str {
        &self.0.text
    }

    fn __repr__(&self) -> String {
        format!("Snippet({:?})", self.0.text)
    }

    fn _repr_html_(&self) -> String {
        marked(&self.0)
    }
}

/// A document's rank and score by one arm of a search.
#[pyclass(frozen, module = "adam_search")]
pub(crate) struct Arm(ArmScore);

#[pymethods]
impl Arm {
    /// "bm25", "dense" or "rerank".
    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }

    /// Its place among the candidates by this arm, from 1.
    #[getter]
    fn rank(&self) -> Option<usize> {
        self.0.rank
    }

    /// BM25, cosine, or the re-ranker's logit.
    #[getter]
    fn raw(&self) -> Option<f32> {
        self.0.raw
    }

    /// What the fusion made of it.
    #[getter]
    fn normalised(&self) -> f32 {
        self.0.normalised
    }

    /// Its weight in the sum.
    #[getter]
    fn weight(&self) -> f32 {
        self.0.weight
    }

    fn __repr__(&self) -> String {
        format!("Arm({} {}, weight {})", self.0.name, place(&self.0), self.0.weight)
    }
}
