//! Merges the vectors of several segments into one.

use tantivy::directory::{TerminatingWrite, WritePtr};
use tantivy::{DocId, PluginMergeContext};

use super::{build, rows_component};
use crate::inner::Inner;
use crate::mapping::MergeOrder;
use crate::rows::{FieldRows, Presence, RowsFileWriter, Section, SideValues};
use crate::warm::open_rows;
use crate::{DenseError, VectorField};

/// The cancel flag is looked at once in so many documents.
const CANCEL_EVERY: DocId = 1 << 14;

pub(super) fn merge(dense: &Inner, context: &PluginMergeContext) -> Result<(), DenseError> {
    let fields = VectorField::all(context.schema)?;
    let mut sources = Vec::with_capacity(context.readers.len());
    for reader in context.readers {
        let source = open_rows(reader, &fields)?;
        // A damaged row would get a fresh, correct checksum otherwise.
        source.verify(&|| dense.check_cancelled())?;
        sources.push(source);
    }
    let order = MergeOrder::of(context.readers, context.doc_id_mapping)?;
    let target = context.target_segment;
    let mut file = RowsFileWriter::new(target.open_write(rows_component())?, target.id());
    for (number, field) in fields.iter().enumerate() {
        let merge = FieldMerge {
            dense,
            order: &order,
            sources: sources.iter().filter_map(|source| source.fields().get(number)).collect(),
            field,
        };
        merge.write(&mut file)?;
    }
    file.finish(order.max_doc())?.terminate()?;
    drop(sources);
    build::build(dense, context.target_segment, &fields, order.max_doc())
}

struct FieldMerge<'a> {
    dense: &'a Inner,
    order: &'a MergeOrder<'a>,
    sources: Vec<&'a FieldRows>,
    field: &'a VectorField,
}

impl FieldMerge<'_> {
    /// Writes each section in one piece, in the order of documents. Rows are copied as they are kept, so that nothing
    /// is rounded a second time.
    fn write(&self, file: &mut RowsFileWriter<WritePtr>) -> Result<(), DenseError> {
        let number = file.add_field(self.field);
        let options = self.field.options();
        let scales = options.keeps_scales();
        let first_pass = options.has_first_pass();
        let mut sides = SideValues::default();
        let mut docs: Vec<DocId> = Vec::new();
        self.each(|doc, source, row| {
            file.append(number, Section::Rows, source.values().row(row))?;
            docs.push(doc);
            sides.norms.push(value(source.norms(), row));
            if scales {
                sides.scales.push(value(source.scales(), row));
            }
            if first_pass {
                sides.code_scales.push(value(source.code_scales(), row));
                sides.code_errors.push(value(source.code_errors(), row));
            }
            Ok(())
        })?;
        if first_pass {
            self.each(|_, source, row| file.append(number, Section::Codes, source.codes().row(row)))?;
        }
        sides.write(file, number)?;
        let presence = if docs.len() == self.order.max_doc() as usize {
            Presence::All
        } else {
            file.append(number, Section::Docs, bytemuck::cast_slice(&docs))?;
            Presence::List
        };
        file.end_field(number, docs.len() as u32, presence);
        Ok(())
    }

    /// Runs `body(new document, source, row)` for every document that has a vector.
    fn each(&self, mut body: impl FnMut(DocId, &FieldRows, u32) -> Result<(), DenseError>) -> Result<(), DenseError> {
        self.order.try_for_each(|new, source, old| {
            if new % CANCEL_EVERY == 0 {
                self.dense.check_cancelled()?;
            }
            match self.sources.get(source).and_then(|rows| Some((rows, rows.row_of(old)?))) {
                Some((rows, row)) => body(new, rows, row),
                None => Ok(()),
            }
        })
    }
}

fn value(values: &[f32], row: u32) -> f32 {
    values.get(row as usize).copied().unwrap_or(0.0)
}
