//! How a collection is read: names of fields, what is kept, and what happens at a wrong line.

use std::fmt;
use std::str::FromStr;

use crate::error::BeirError;

/// How records are read.
///
/// ```
/// use beir_eval::{Keep, ReadOptions};
///
/// let options = ReadOptions::new()
///     .id_field("sku")
///     .text_field("description")
///     .keep(Keep::Fields(vec!["brand".to_owned()]));
/// let record = options.parse(r#"{"sku": 17, "description": "a kettle", "brand": "Norse", "stock": 3}"#)?;
/// assert_eq!(record.document.id, "17");
/// assert_eq!(record.metadata["brand"], "Norse");
/// assert_eq!(record.unread, ["stock"]);
/// # Ok::<(), beir_eval::BeirError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadOptions {
    pub(crate) id: Option<String>,
    pub(crate) title: Option<String>,
    pub(crate) text: Option<String>,
    pub(crate) keep: Keep,
    pub(crate) on_wrong_line: OnWrongLine,
}

/// Which fields of a record become metadata, beside the members of its `metadata`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Keep {
    /// No other.
    #[default]
    Nothing,
    /// Those with these names.
    Fields(Vec<String>),
    /// All that are not id, title, text or vector.
    All,
}

/// What happens at a line that cannot be used, or that repeats an id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnWrongLine {
    /// Reading ends with an error.
    #[default]
    Stop,
    /// The line is left out and counted.
    Skip,
}

impl ReadOptions {
    /// BEIR's field names, nothing else kept, stop at the first wrong line.
    pub fn new() -> Self {
        Self::default()
    }

    /// The field with the id. By default `_id`, or `id` where a record has no `_id`.
    #[must_use]
    pub fn id_field(mut self, name: impl Into<String>) -> Self {
        self.id = Some(name.into());
        self
    }

    /// The field with the title. By default `title`.
    #[must_use]
    pub fn title_field(mut self, name: impl Into<String>) -> Self {
        self.title = Some(name.into());
        self
    }

    /// The field with the text. By default `text`.
    #[must_use]
    pub fn text_field(mut self, name: impl Into<String>) -> Self {
        self.text = Some(name.into());
        self
    }

    /// The names of id, title and text, each where one is given, as users of a program give them.
    #[must_use]
    pub fn fields(mut self, id: Option<&str>, title: Option<&str>, text: Option<&str>) -> Self {
        if let Some(name) = id {
            self = self.id_field(name);
        }
        if let Some(name) = title {
            self = self.title_field(name);
        }
        if let Some(name) = text {
            self = self.text_field(name);
        }
        self
    }

    /// Which other fields become metadata.
    #[must_use]
    pub fn keep(mut self, keep: Keep) -> Self {
        self.keep = keep;
        self
    }

    /// What happens at a wrong line.
    #[must_use]
    pub fn on_wrong_line(mut self, policy: OnWrongLine) -> Self {
        self.on_wrong_line = policy;
        self
    }

    pub(crate) fn title_name(&self) -> &str {
        self.title.as_deref().unwrap_or("title")
    }

    pub(crate) fn text_name(&self) -> &str {
        self.text.as_deref().unwrap_or("text")
    }
}

impl FromStr for Keep {
    type Err = BeirError;

    /// `all`, or names with commas between.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "all" {
            return Ok(Self::All);
        }
        let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
        if names.iter().any(String::is_empty) {
            return Err(BeirError::Value {
                text: text.to_owned(),
                expected: "`all`, or names of fields with commas between",
            });
        }
        Ok(Self::Fields(names))
    }
}

impl FromStr for OnWrongLine {
    type Err = BeirError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "stop" => Ok(Self::Stop),
            "skip" => Ok(Self::Skip),
            _ => Err(BeirError::Value { text: text.to_owned(), expected: "`stop` or `skip`" }),
        }
    }
}

impl fmt::Display for OnWrongLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stop => "stop",
            Self::Skip => "skip",
        })
    }
}
