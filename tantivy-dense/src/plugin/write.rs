//! Takes vectors from documents in an indexing thread.

use std::any::Any;

use tantivy::directory::{TerminatingWrite, WritePtr};
use tantivy::indexer::DocIdMapping;
use tantivy::schema::Schema;
use tantivy::schema::document::{ErasedDocument, ErasedValue, ReferenceValueLeaf};
use tantivy::{DocId, PluginWriter, Segment};

use crate::rows::{FieldWriter, RowsFileWriter};
use crate::{DenseError, mapping};

/// Writes the vectors of one segment.
pub(super) struct SegmentVectorWriter {
    file: RowsFileWriter<WritePtr>,
    fields: Vec<FieldWriter>,
    max_doc: DocId,
}

impl SegmentVectorWriter {
    pub(super) fn new(file: RowsFileWriter<WritePtr>, fields: Vec<FieldWriter>) -> SegmentVectorWriter {
        SegmentVectorWriter { file, fields, max_doc: 0 }
    }

    fn add(&mut self, doc: DocId, document: &dyn ErasedDocument) -> Result<(), DenseError> {
        self.max_doc = doc + 1;
        for (field, value) in document.erased_fields() {
            let Some(writer) = self.fields.iter_mut().find(|writer| writer.field().field() == field) else {
                continue;
            };
            // `VectorField::add` has checked all this in the caller's thread; what comes by another way fails here, and
            // tantivy then ends the index writer.
            let ErasedValue::Leaf(ReferenceValueLeaf::Custom(bytes)) = value else {
                return Err(writer.field().not_a_vector("it is of another type".to_owned()));
            };
            let vector = writer.field().decode(bytes)?;
            writer.add(&mut self.file, doc, &vector)?;
        }
        Ok(())
    }
}

impl PluginWriter for SegmentVectorWriter {
    fn add_document(&mut self, doc: DocId, document: &dyn ErasedDocument, _: &Schema) -> tantivy::Result<()> {
        Ok(self.add(doc, document)?)
    }

    fn serialize(mut self: Box<Self>, _: &Segment, mapping: Option<&DocIdMapping>) -> tantivy::Result<()> {
        let new_ids = mapping.map(|mapping| mapping::new_ids(mapping, self.max_doc)).transpose()?;
        for field in self.fields.drain(..) {
            field.finish(&mut self.file, self.max_doc, new_ids.as_deref())?;
        }
        self.file.finish(self.max_doc)?.terminate()?;
        Ok(())
    }

    fn mem_usage(&self) -> usize {
        self.fields.iter().map(FieldWriter::memory).sum()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
