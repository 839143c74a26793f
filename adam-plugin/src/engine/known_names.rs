//! The names that documents can be filtered by, as they were last read.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use crate::error::PluginError;

/// A name that documents can be filtered by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MetadataName {
    /// The name, as a filter has it.
    pub name: String,
    /// Kinds of its values: `text`, `numbers`, `dates`, `true or false`, `numbers in text`.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub kinds: Vec<&'static str>,
    /// Documents that have it. Not there where counting would take long, or the index keeps no columns of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(required = false))]
    pub documents: Option<u64>,
}

/// The names that documents can be filtered by, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataNames {
    /// At most a thousand.
    pub names: Vec<MetadataName>,
    /// Whether there are more.
    pub has_more: bool,
}

/// The names of one generation of an index, which does not change.
#[derive(Debug, Default)]
pub(super) struct KnownNames(Mutex<Option<(u64, Arc<MetadataNames>)>>);

impl KnownNames {
    /// The names of a generation: those that are known, or what `read` gives.
    pub(super) fn of(
        &self,
        generation: u64,
        read: impl FnOnce() -> Result<MetadataNames, PluginError>,
    ) -> Result<Arc<MetadataNames>, PluginError> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, names)) = known.as_ref()
            && *of == generation
        {
            return Ok(names.clone());
        }
        let names = Arc::new(read()?);
        *known = Some((generation, names.clone()));
        Ok(names)
    }
}
