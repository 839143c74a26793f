//! What tantivy calls when it writes, merges and measures segments.

#[cfg(test)]
mod background_tests;
mod build;
mod merge;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;

use tantivy::index::SegmentComponent;
use tantivy::space_usage::ComponentSpaceUsage;
use tantivy::{HasLen, PluginMergeContext, PluginWriter, PluginWriterContext, SegmentPlugin, SegmentReader};

use crate::VectorField;
use crate::components::{EXTENSIONS, rows_component};
use crate::inner::Inner;
use crate::rows::{FieldWriter, RowsFileWriter};

/// The plugin.
pub(crate) struct DensePlugin(pub(crate) Arc<Inner>);

impl SegmentPlugin for DensePlugin {
    fn extensions(&self) -> &[&str] {
        &EXTENSIONS
    }

    fn create_writer(&self, context: &PluginWriterContext) -> tantivy::Result<Box<dyn PluginWriter>> {
        let fields = VectorField::all(&context.segment.schema())?;
        let out = context.segment.open_write(rows_component())?;
        let mut file = RowsFileWriter::new(out, context.segment.id());
        let fields = fields.into_iter().map(|field| FieldWriter::new(field, &mut file)).collect();
        Ok(Box::new(write::SegmentVectorWriter::new(file, fields)))
    }

    fn merge(&self, context: PluginMergeContext) -> tantivy::Result<()> {
        Ok(merge::merge(&self.0, &context)?)
    }

    fn space_usage(&self, segment_reader: &SegmentReader) -> tantivy::Result<BTreeMap<String, ComponentSpaceUsage>> {
        let mut usage = BTreeMap::new();
        for extension in EXTENSIONS {
            let component = SegmentComponent::Custom(extension.to_owned());
            match segment_reader.open_read(component) {
                Ok(file) => {
                    usage.insert(extension.to_owned(), ComponentSpaceUsage::Basic(file.len().into()));
                }
                // Most segments have no approximate index.
                Err(tantivy::directory::error::OpenReadError::FileDoesNotExist(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(usage)
    }
}
