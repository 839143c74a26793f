//! Rows from Python as documents.

use adam_plugin::engine::Document;
use arrow_array::StructArray;
use numpy::{PyArrayMethods, PyReadonlyArray1};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyInt, PyString};
use serde_json::{Map, Value};

use crate::errors::input;
use crate::{arrow, values};

/// Which column or key is what of a document.
#[derive(Clone, Debug, Default)]
pub(crate) struct Columns {
    pub(crate) id: Option<String>,
    pub(crate) title: Option<String>,
    pub(crate) text: Option<String>,
    pub(crate) vector: Option<String>,
    /// The columns that become metadata; all others if none are named.
    pub(crate) keep: Option<Vec<String>>,
}

/// The names that are looked for where none is given.
const IDS: [&str; 2] = ["_id", "id"];

impl Columns {
    fn is_kept(&self, name: &str) -> bool {
        self.keep.as_ref().is_none_or(|keep| keep.iter().any(|kept| kept == name))
    }

    fn named<'a>(given: &'a Option<String>, usual: &'a str) -> &'a str {
        given.as_deref().unwrap_or(usual)
    }

    /// The key of the id in a dict.
    pub(crate) fn id_of(&self, row: &Bound<'_, PyDict>) -> PyResult<String> {
        let usual = if row.contains(IDS[0])? { IDS[0] } else { IDS[1] };
        Ok(Self::named(&self.id, usual).to_owned())
    }

    /// The document of a dict, without what an index may say to it.
    pub(crate) fn of_dict(&self, row: &Bound<'_, PyAny>, number: usize) -> PyResult<Document> {
        let wrong = |problem: String| input(format!("row {number}: {problem}"));
        let dict = match row.cast::<PyDict>() {
            Ok(dict) => dict.clone(),
            Err(_) if row.hasattr("keys")? => row.py().get_type::<PyDict>().call1((row,))?.cast_into()?,
            Err(_) => return Err(wrong(format!("is a {}, and a dict is needed", row.get_type().name()?))),
        };
        let item = |name: &str| -> PyResult<Option<Bound<'_, PyAny>>> {
            Ok(dict.get_item(name)?.filter(|value| !value.is_none()))
        };
        let missing = |what: &str, names: &str, option: &str| {
            let keys: Vec<String> = dict.keys().iter().map(|key| format!("`{key}`")).collect();
            wrong(format!("has no {what} under {names}; it has {}. Name it by {option}=", keys.join(", ")))
        };
        let id_name = self.id_of(&dict)?;
        let id = item(&id_name)?.ok_or_else(|| match &self.id {
            Some(name) => missing("id", &format!("`{name}`"), "id"),
            None => missing("id", "`_id` or `id`", "id"),
        })?;
        let id = match id.cast::<PyString>() {
            Ok(id) => values::string(id).map_err(|problem| wrong(format!("its id {problem}")))?,
            // Numbers are names as well, and `True` is an int to Python.
            Err(_) if id.is_instance_of::<PyInt>() && !id.is_instance_of::<PyBool>() => id.to_string(),
            Err(_) => {
                return Err(wrong(format!("its id is a {}, and a str or an int is needed", id.get_type().name()?)));
            }
        };
        let text = |name: &str| -> PyResult<Option<String>> {
            let Some(value) = item(name)? else { return Ok(None) };
            let text = value
                .cast::<PyString>()
                .map_err(|fault| wrong(format!("document `{id}`: `{name}` is no str: {fault}")))?;
            values::string(text).map(Some).map_err(|problem| wrong(format!("document `{id}`: `{name}` {problem}")))
        };
        let (text_name, title_name) = (Self::named(&self.text, "text"), Self::named(&self.title, "title"));
        if !dict.contains(text_name)? {
            return Err(missing("text", &format!("`{text_name}`"), "text"));
        }
        if self.title.is_some() && !dict.contains(title_name)? {
            return Err(missing("title", &format!("`{title_name}`"), "title"));
        }
        let vector_name = Self::named(&self.vector, "vector");
        if self.vector.is_some() && !dict.contains(vector_name)? {
            return Err(missing("vector", &format!("`{vector_name}`"), "vector"));
        }
        let vector = item(vector_name)?
            .map(|value| vector(&value))
            .transpose()
            .map_err(|problem| wrong(format!("document `{id}`: its vector {problem}")))?;
        let mut metadata = Map::new();
        for (key, value) in &dict {
            let key = key.cast_into::<PyString>().map_err(|_| wrong("has a key that is no str".to_owned()))?;
            let key = values::string(&key).map_err(|problem| wrong(format!("a key {problem}")))?;
            if [id_name.as_str(), text_name, title_name, vector_name].contains(&key.as_str()) || value.is_none() {
                continue;
            }
            if !self.is_kept(&key) && key != "metadata" {
                continue;
            }
            let value =
                values::to_json(&value).map_err(|problem| wrong(format!("document `{id}`: `{key}` {problem}")))?;
            add(&mut metadata, key, value);
        }
        Ok(Document {
            title: text(title_name)?.unwrap_or_default(),
            text: text(text_name)?.unwrap_or_default(),
            metadata: (!metadata.is_empty()).then_some(metadata),
            vector,
            id,
        })
    }

    /// The columns of a table, if it has them.
    pub(crate) fn of_table(&self, table: &StructArray) -> PyResult<Table> {
        let names: Vec<String> = table.fields().iter().map(|field| field.name().clone()).collect();
        let find = |name: &str| names.iter().position(|known| known == name);
        let needed = |name: &str, option: &str| {
            find(name).ok_or_else(|| {
                let there: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
                input(format!(
                    "rows: the table has no column `{name}`; it has {}. Name another by {option}=",
                    there.join(", ")
                ))
            })
        };
        let optional = |given: &Option<String>, usual: &str, option: &str| match given {
            Some(name) => needed(name, option).map(Some),
            None => Ok(find(usual)),
        };
        let id = match &self.id {
            Some(name) => needed(name, "id")?,
            None => IDS.iter().find_map(|name| find(name)).map_or_else(|| needed(IDS[1], "id"), Ok)?,
        };
        let text = needed(Self::named(&self.text, "text"), "text")?;
        let title = optional(&self.title, "title", "title")?;
        let vector = optional(&self.vector, "vector", "vector")?;
        for name in self.keep.iter().flatten() {
            needed(name, "keep")?;
        }
        let special = [Some(id), Some(text), title, vector];
        let metadata = (0..names.len())
            .filter(|position| !special.contains(&Some(*position)))
            .filter(|position| self.is_kept(&names[*position]) || names[*position] == "metadata")
            .map(|position| (names[position].clone(), position))
            .collect();
        Ok(Table { id, title, text, vector, metadata })
    }
}

fn add(metadata: &mut Map<String, Value>, name: String, value: Value) {
    match value {
        // As the other programs' documents have it.
        Value::Object(members) if name == "metadata" => metadata.extend(members),
        value => {
            metadata.insert(name, value);
        }
    }
}

/// The values of a vector: a NumPy array, a list, or anything that is one.
fn vector(given: &Bound<'_, PyAny>) -> Result<Vec<f32>, String> {
    if let Ok(array) = given.extract::<PyReadonlyArray1<'_, f32>>() {
        return array.to_vec().map_err(|fault| fault.to_string());
    }
    let name = given.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
    let values: Vec<f64> = given
        .extract()
        .map_err(|_| format!("is a {name}, and a list of float or a NumPy array of one dimension is needed"))?;
    Ok(values.into_iter().map(|value| value as f32).collect())
}

/// Positions of the columns of a table.
pub(crate) struct Table {
    id: usize,
    title: Option<usize>,
    text: usize,
    vector: Option<usize>,
    metadata: Vec<(String, usize)>,
}

impl Table {
    /// The document of a row of a part of the table, which is row `number` of all.
    pub(crate) fn document(&self, part: &StructArray, row: usize, number: usize) -> PyResult<Document> {
        let wrong = |problem: String| input(format!("row {number}: {problem}"));
        let column = |position: usize| part.column(position).as_ref();
        let name = |position: usize| part.fields()[position].name();
        let id = match arrow::cell(column(self.id), row).map_err(|problem| wrong(format!("its id {problem}")))? {
            Value::String(id) => id,
            Value::Number(number) if !number.is_f64() => number.to_string(),
            Value::Null => return Err(wrong(format!("`{}` is null, and every document needs an id", name(self.id)))),
            _ => {
                let kind = column(self.id).data_type();
                return Err(wrong(format!("its id is of the Arrow type {kind}, and text or integers are needed")));
            }
        };
        let said = |position: usize, problem: String| wrong(format!("document `{id}`: `{}` {problem}", name(position)));
        let text = |position: usize| {
            arrow::text_of(column(position), row)
                .map(Option::unwrap_or_default)
                .map_err(|problem| said(position, problem))
        };
        let vector = match self.vector {
            Some(position) => arrow::vector_of(column(position), row).map_err(|problem| said(position, problem))?,
            None => None,
        };
        let mut metadata = Map::new();
        for (name, position) in &self.metadata {
            let value = arrow::cell(column(*position), row).map_err(|problem| said(*position, problem))?;
            if !value.is_null() {
                add(&mut metadata, name.clone(), value);
            }
        }
        Ok(Document {
            title: self.title.map(text).transpose()?.unwrap_or_default(),
            text: text(self.text)?,
            metadata: (!metadata.is_empty()).then_some(metadata),
            vector,
            id,
        })
    }
}
