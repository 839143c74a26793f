//! Which text of a document is embedded.

use std::fmt;

use tantivy::TantivyDocument;
use tantivy::schema::{Field, Schema, Value};

use crate::error::PluginError;

/// Longest template accepted, in bytes.
const MAX_LENGTH: usize = 4096;

/// A text with fields in braces, as `{title} {text}`. `{{` and `}}` stand for braces.
///
/// A field with several values gives them joined by a space, a field without any gives nothing; white space around the
/// whole is cut.
///
/// ```
/// use adam_plugin::Template;
/// # fn main() -> Result<(), adam_plugin::PluginError> {
/// let template: Template = "{title}: {body}".parse()?;
/// assert_eq!(template.fields().collect::<Vec<_>>(), ["title", "body"]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    source: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(String),
}

impl Template {
    /// The values of the fields, one after the other, with a space between.
    pub fn joining<S: AsRef<str>>(fields: impl IntoIterator<Item = S>) -> Result<Self, PluginError> {
        let braced: Vec<String> = fields.into_iter().map(|field| format!("{{{}}}", field.as_ref())).collect();
        braced.join(" ").parse()
    }

    /// Names of the fields, in the order of their first use.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Field(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// The template bound to the fields of a schema.
    pub(crate) fn bind(&self, schema: &Schema) -> Result<Bound, PluginError> {
        let parts =
            self.parts
                .iter()
                .map(|part| match part {
                    Part::Text(text) => Ok(BoundPart::Text(text.clone())),
                    Part::Field(name) => schema.get_field(name).map(BoundPart::Field).map_err(|_| {
                        PluginError::field(name, format!("of the template `{self}` is not in the schema"))
                    }),
                })
                .collect::<Result<_, _>>()?;
        Ok(Bound(parts))
    }
}

impl std::str::FromStr for Template {
    type Err = PluginError;

    fn from_str(source: &str) -> Result<Self, Self::Err> {
        let refuse = |problem: &str| PluginError::Template {
            template: source.chars().take(200).collect(),
            problem: problem.to_owned(),
        };
        if source.len() > MAX_LENGTH {
            return Err(refuse("it is longer than 4,096 bytes"));
        }
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = source.chars().peekable();
        while let Some(next) = rest.next() {
            match next {
                '{' | '}' if rest.peek() == Some(&next) => {
                    rest.next();
                    text.push(next);
                }
                '{' => {
                    let mut name = String::new();
                    loop {
                        match rest.next() {
                            Some('}') => break,
                            Some('{') | None => return Err(refuse("a `{` is not closed; write `{{` for a brace")),
                            Some(letter) => name.push(letter),
                        }
                    }
                    if name.trim().is_empty() {
                        return Err(refuse("`{}` names no field"));
                    }
                    if !text.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut text)));
                    }
                    parts.push(Part::Field(name.trim().to_owned()));
                }
                '}' => return Err(refuse("a `}` without `{`; write `}}` for a brace")),
                other => text.push(other),
            }
        }
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        if !parts.iter().any(|part| matches!(part, Part::Field(_))) {
            return Err(refuse("it names no field, so every document would be embedded alike"));
        }
        Ok(Self { source: source.to_owned(), parts })
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

/// A template whose fields are those of a schema.
#[derive(Debug, Clone)]
pub(crate) struct Bound(Vec<BoundPart>);

#[derive(Debug, Clone)]
enum BoundPart {
    Text(String),
    Field(Field),
}

impl Bound {
    /// The text of a document; `None` where none of the fields has a value, so that there is nothing to embed.
    pub(crate) fn render(&self, document: &TantivyDocument) -> Option<String> {
        let mut text = String::new();
        let mut found = false;
        for part in &self.0 {
            match part {
                BoundPart::Text(literal) => text.push_str(literal),
                BoundPart::Field(field) => {
                    let mut first = true;
                    for value in document.get_all(*field).filter_map(|value| value.as_str()) {
                        if !first {
                            text.push(' ');
                        }
                        first = false;
                        text.push_str(value);
                        found |= !value.trim().is_empty();
                    }
                }
            }
        }
        let trimmed = text.trim();
        if !found {
            return None;
        }
        if trimmed.len() != text.len() {
            return Some(trimmed.to_owned());
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tantivy::schema::{STORED, TEXT};

    #[test]
    fn fields_are_filled_in() {
        let mut schema = Schema::builder();
        let title = schema.add_text_field("title", TEXT | STORED);
        let text = schema.add_text_field("text", TEXT);
        let schema = schema.build();
        let template: Template = "{{{title}}} {text}".parse().unwrap();
        let bound = template.bind(&schema).unwrap();
        let mut document = TantivyDocument::new();
        assert_eq!(bound.render(&document), None);
        document.add_text(text, "one");
        document.add_text(text, "two");
        assert_eq!(bound.render(&document).unwrap(), "{} one two");
        document.add_text(title, "Name");
        assert_eq!(bound.render(&document).unwrap(), "{Name} one two");
        let joined = Template::joining(["title", "text"]).unwrap().bind(&schema).unwrap();
        assert_eq!(joined.render(&document).unwrap(), "Name one two");
        assert!("{nowhere}".parse::<Template>().unwrap().bind(&schema).is_err());
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for bad in ["", "plain", "{", "}", "{a", "{}", "{a}}", "{{a}}", "{a{b}}"] {
            assert!(bad.parse::<Template>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[{}a ]{0,12}|\\PC{0,30}") {
            if let Ok(template) = text.parse::<Template>() {
                prop_assert_eq!(template.to_string(), text);
                prop_assert!(template.fields().count() > 0);
            }
        }
    }
}
