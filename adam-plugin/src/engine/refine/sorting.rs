//! The order of the window's documents: by a field, or so that they differ.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tantivy_dense::hybrid::Order;

use crate::error::PluginError;

/// A direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Small numbers, early dates and the letter A first.
    #[default]
    Asc,
    /// Large numbers, late dates and the letter Z first.
    Desc,
}

/// Orders the documents of a search's window by a field. Equal values are ordered by score, and documents without a value come last. As
/// text: `price`, `released:desc`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Sorting {
    /// A field, or a name in metadata, as a filter has it.
    pub field: String,
    /// The direction.
    #[serde(default)]
    pub order: Direction,
}

impl Sorting {
    /// By a field.
    pub fn new(field: impl Into<String>, order: Direction) -> Self {
        Self { field: field.into(), order }
    }
}

impl From<Direction> for Order {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Asc => Order::Ascending,
            Direction::Desc => Order::Descending,
        }
    }
}

impl FromStr for Sorting {
    type Err = PluginError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (field, order) = match text.rsplit_once(':') {
            Some((field, "asc")) => (field, Direction::Asc),
            Some((field, "desc")) => (field, Direction::Desc),
            _ => (text, Direction::Asc),
        };
        if field.trim().is_empty() {
            let problem =
                format!("`{text}` is no order; write a field, or a field and a direction, such as released:desc");
            return Err(PluginError::Query { problem });
        }
        Ok(Self { field: field.to_owned(), order })
    }
}
