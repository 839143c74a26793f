//! What is searched in place of a query's words, or beside them: synonyms, words with typing errors, and fields of different weight.

mod best;
mod fields;
mod synonyms;
mod typos;

pub(crate) use best::{BestQuery, Variant};
pub use fields::FieldWeight;
pub(crate) use fields::resolve;
pub use synonyms::Synonyms;
pub(crate) use synonyms::{Match, SynonymTable};
pub use typos::Typos;
pub(crate) use typos::{Frequencies, similar_terms};
