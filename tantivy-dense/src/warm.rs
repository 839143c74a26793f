//! Opened segments, kept while a searcher needs them.
//!
//! tantivy opens its own files with a searcher, and deletes a segment's files once a merge has replaced it. A plugin's
//! file that is opened at the first query may be gone by then, so vectors are opened by a [`Warmer`], before the new
//! searcher is handed out, and closed after the last searcher that sees them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tantivy::directory::error::OpenReadError;
use tantivy::index::SegmentId;
use tantivy::{Opstamp, Searcher, SearcherGeneration, SegmentReader, Warmer};

use crate::dense::Inner;
use crate::plugin::rows_component;
use crate::query::RowSet;
use crate::rows::{EXTENSION, FieldRows, RowsFile};
use crate::{DenseError, VectorField};

/// Sets of live rows kept per segment: old searchers see earlier states of its deletes.
const ALIVE_KEPT: usize = 4;
/// Segments kept open for searchers that have no warmer, beyond those of the searcher at hand.
const LOOSE_KEPT: usize = 64;

/// Opens the rows of a segment, without comparing the checksums of the data.
pub(crate) fn open_rows(reader: &SegmentReader, fields: &[VectorField]) -> Result<RowsFile, DenseError> {
    let name = format!("{}.{EXTENSION}", reader.segment_id().uuid_string());
    let file = match reader.open_read(rows_component()) {
        Ok(file) => file,
        Err(OpenReadError::FileDoesNotExist(_)) => return Err(DenseError::NoRows { file: name }),
        Err(error) => return Err(error.into()),
    };
    RowsFile::open(&file, &name, fields, reader.max_doc())
}

/// The vectors of one segment.
pub(crate) struct SegmentVectors {
    fields: Vec<FieldRows>,
    alive: Mutex<Vec<(u32, Option<Opstamp>, Arc<RowSet>)>>,
}

impl SegmentVectors {
    fn open(dense: &Inner, reader: &SegmentReader) -> Result<SegmentVectors, DenseError> {
        let fields = VectorField::all(reader.schema())?;
        let file = open_rows(reader, &fields)?;
        if dense.options.verify_on_open {
            file.verify()?;
        }
        Ok(SegmentVectors { fields: file.into_fields(), alive: Mutex::default() })
    }

    /// The vectors of a field.
    pub(crate) fn field(&self, field: &VectorField) -> Result<&FieldRows, DenseError> {
        let found = self.fields.iter().find(|rows| rows.field() == field);
        found.ok_or_else(|| DenseError::ForeignField { name: field.name().to_owned() })
    }

    /// The rows whose documents are not deleted, as this searcher sees it; `None` for all.
    pub(crate) fn alive(&self, rows: &FieldRows, reader: &SegmentReader) -> Option<Arc<RowSet>> {
        let bits = reader.alive_bitset()?;
        let (field, stamp) = (rows.field().field().field_id(), reader.delete_opstamp());
        // A reader opened with a bitset of the caller's own has no stamp to know it by.
        let known = stamp.is_some();
        if known {
            let kept = lock(&self.alive);
            if let Some((.., set)) = kept.iter().find(|(of, at, _)| (*of, *at) == (field, stamp)) {
                return Some(Arc::clone(set));
            }
        }
        let set = Arc::new(RowSet::from_rows(rows.len(), |row| bits.is_alive(rows.doc(row))));
        if known {
            let mut kept = lock(&self.alive);
            if kept.len() >= ALIVE_KEPT * self.fields.len() {
                kept.remove(0);
            }
            kept.push((field, stamp, Arc::clone(&set)));
        }
        Some(set)
    }
}

/// All segments that are open.
#[derive(Default)]
pub(crate) struct OpenSegments {
    known: Mutex<HashMap<SegmentId, Weak<SegmentVectors>>>,
    /// Held for searchers that no warmer has seen.
    loose: Mutex<HashMap<SegmentId, Arc<SegmentVectors>>>,
    holders: Mutex<Vec<Arc<SegmentHolder>>>,
}

impl OpenSegments {
    fn known(&self, id: SegmentId) -> Option<Arc<SegmentVectors>> {
        lock(&self.known).get(&id)?.upgrade()
    }

    fn open(&self, dense: &Inner, reader: &SegmentReader) -> Result<Arc<SegmentVectors>, DenseError> {
        if let Some(vectors) = self.known(reader.segment_id()) {
            return Ok(vectors);
        }
        // Not under the lock: it reads the whole file. A second thread may do the same work, and does no harm.
        let vectors = Arc::new(SegmentVectors::open(dense, reader)?);
        let mut known = lock(&self.known);
        known.retain(|_, vectors| vectors.strong_count() > 0);
        known.insert(reader.segment_id(), Arc::downgrade(&vectors));
        Ok(vectors)
    }

    /// The vectors of a segment of `searcher`.
    pub(crate) fn get(
        &self,
        dense: &Inner,
        searcher: &Searcher,
        reader: &SegmentReader,
    ) -> Result<Arc<SegmentVectors>, DenseError> {
        if let Some(vectors) = self.known(reader.segment_id()) {
            return Ok(vectors);
        }
        let vectors = self.open(dense, reader)?;
        let mut loose = lock(&self.loose);
        if loose.len() >= LOOSE_KEPT {
            let here: HashSet<SegmentId> = searcher.segment_readers().iter().map(SegmentReader::segment_id).collect();
            loose.retain(|id, _| here.contains(id));
        }
        loose.insert(reader.segment_id(), Arc::clone(&vectors));
        Ok(vectors)
    }

    /// A new warmer, kept until its reader is gone.
    pub(crate) fn holder(&self, dense: &Arc<Inner>) -> Weak<dyn Warmer> {
        let holder = Arc::new(SegmentHolder { dense: Arc::downgrade(dense), held: Mutex::default() });
        let mut holders = lock(&self.holders);
        // A reader keeps weak references to its warmers: without any, there is no reader.
        holders.retain(|holder| Arc::weak_count(holder) > 0);
        holders.push(Arc::clone(&holder));
        let holder: Arc<dyn Warmer> = holder;
        Arc::downgrade(&holder)
    }
}

/// Opens what a reader's searchers will need, and closes what none of them needs any more.
pub(crate) struct SegmentHolder {
    dense: Weak<Inner>,
    held: Mutex<HashMap<SegmentId, Arc<SegmentVectors>>>,
}

impl Warmer for SegmentHolder {
    fn warm(&self, searcher: &Searcher) -> tantivy::Result<()> {
        let Some(dense) = self.dense.upgrade() else { return Ok(()) };
        for reader in searcher.segment_readers() {
            let vectors = dense.segments.open(&dense, reader)?;
            lock(&self.held).insert(reader.segment_id(), vectors);
        }
        Ok(())
    }

    fn garbage_collect(&self, live: &[&SearcherGeneration]) {
        lock(&self.held).retain(|id, _| live.iter().any(|generation| generation.segments().contains_key(id)));
    }
}

/// What these locks guard stays whole whatever a thread that held one was doing.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
