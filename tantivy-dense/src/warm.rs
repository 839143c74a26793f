//! Opened segments, kept while a searcher needs them.
//!
//! tantivy opens its own files with a searcher, and deletes a segment's files once a merge has replaced it. A plugin's
//! file that is opened at the first query may be gone by then, so vectors are opened by a [`Warmer`], before the new
//! searcher is handed out, and closed after the last searcher that sees them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, Weak};

use tantivy::directory::FileSlice;
use tantivy::directory::error::OpenReadError;
use tantivy::index::SegmentId;
use tantivy::{Opstamp, Searcher, SearcherGeneration, SegmentReader, Warmer};

use crate::ann::{AnnEntry, AnnFile, AnnIndex, AnnKind, AnnSpec, Lookup, RowSource, Similarity};
use crate::components::{ann_component, rows_component};
use crate::device::{Device, Key, Slot, Source};
use crate::lock::lock;
use crate::options::DenseOptions;
use crate::query::RowSet;
use crate::rows::{EXTENSION, FieldRows, RowsFile};
use crate::{DenseError, Element, VectorField};

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
        // Of tantivy's other errors, this one alone does not name the file.
        Err(error @ OpenReadError::IncompatibleIndex(_)) => return Err(DenseError::corrupt(name, error.to_string())),
        Err(error) => return Err(error.into()),
    };
    RowsFile::open(&file, &name, reader.segment_id(), fields, reader.max_doc())
}

/// Name of a segment's file of approximate indexes.
pub(crate) fn ann_file_name(segment: SegmentId) -> String {
    format!("{}.{}", segment.uuid_string(), crate::ann::file::EXTENSION)
}

/// The files of a segment, opened but not yet read.
struct SegmentFiles {
    rows: RowsFile,
    /// The file of approximate indexes and its name, where there is one; else what keeps it from being opened.
    index: Result<Option<(FileSlice, String)>, String>,
}

impl SegmentFiles {
    fn open(reader: &SegmentReader) -> Result<SegmentFiles, DenseError> {
        let rows = open_rows(reader, &VectorField::all(reader.schema())?)?;
        let index = match reader.open_read(ann_component()) {
            Ok(file) => Ok(Some((file, ann_file_name(reader.segment_id())))),
            Err(OpenReadError::FileDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.to_string()),
        };
        Ok(SegmentFiles { rows, index })
    }
}

/// An approximate index that is open.
pub(crate) struct OpenIndex {
    pub index: AnnIndex,
    pub entry: AnnEntry,
}

/// The vectors of one field in one segment.
pub(crate) struct FieldVectors {
    pub rows: FieldRows,
    /// The approximate index over them; else why there is none to use, where there is a file.
    pub index: Result<OpenIndex, Option<String>>,
    /// Their place on the device, where there is one.
    pub slot: Option<Slot>,
}

impl FieldVectors {
    fn open(
        rows: FieldRows,
        file: &Result<Option<AnnFile>, String>,
        segment: SegmentId,
        device: Option<&Device>,
    ) -> FieldVectors {
        let index = match file {
            Ok(None) => Err(None),
            Err(why) => Err(Some(why.clone())),
            Ok(Some(file)) => open_index(&rows, file),
        };
        let (field, checksum) = (rows.field().field().field_id(), rows.rows_checksum());
        let slot = device.map(|device| Slot::new(device, Key { segment, field, checksum, lists: false }));
        FieldVectors { rows, index, slot }
    }

    /// Has the device copy what searches will want of it, where that pays, before there is a search that waits for it.
    fn prepare(self: &Arc<FieldVectors>) {
        let Some(slot) = &self.slot else { return };
        let options = slot.device.options();
        let values = (self.rows.len() as usize).saturating_mul(self.rows.options().dimension());
        if values == 0 || values < options.least_values {
            return;
        }
        let lists = options.lists && self.lists().is_some();
        if let Err(why) = slot.prepare(Arc::clone(self) as Arc<dyn Source>, lists) {
            // Searches try again, and report it.
            tracing::info!("{} has not taken a segment's rows: {why}", slot.device.name());
        }
    }
}

impl Source for FieldVectors {
    fn rows(&self) -> &dyn RowSource {
        &self.rows
    }

    fn dimension(&self) -> usize {
        self.rows.options().dimension()
    }

    fn similarity(&self) -> Similarity {
        self.rows.options().metric().into()
    }

    fn lists(&self) -> Option<(&AnnIndex, u64)> {
        let open = self.index.as_ref().ok()?;
        (open.index.kind() == AnnKind::Lists).then_some((&open.index, open.entry.length))
    }
}

fn open_index(rows: &FieldRows, file: &AnnFile) -> Result<OpenIndex, Option<String>> {
    let options = rows.options();
    let spec =
        AnnSpec { similarity: options.metric().into(), dimension: options.dimension(), rows: rows.len() as usize };
    let blob = match file.get(rows.field().field().field_id(), &spec, rows.rows_checksum()) {
        Ok(Lookup::Absent) => return Err(None),
        Ok(Lookup::Unusable(why)) => return Err(Some(why.to_string())),
        Ok(Lookup::Usable(blob)) => blob,
        Err(error) => return Err(Some(error.to_string())),
    };
    let beside = match (blob.entry.needs_rows, options.element_type()) {
        (false, _) => None,
        (true, Element::F32) => rows.values().whole(),
        (true, _) => None,
    };
    match blob.open(beside) {
        Ok(index) => Ok(OpenIndex { index, entry: blob.entry }),
        Err(why) => Err(Some(why.to_string())),
    }
}

/// The rows of a field, by its number, that were alive at a delete stamp.
type Alive = (u32, Option<Opstamp>, Arc<RowSet>);

/// The vectors of one segment.
pub(crate) struct SegmentVectors {
    fields: Vec<Arc<FieldVectors>>,
    alive: Mutex<Vec<Alive>>,
}

impl SegmentVectors {
    fn open(options: &DenseOptions, reader: &SegmentReader, files: SegmentFiles) -> Result<SegmentVectors, DenseError> {
        if options.verify_on_open {
            files.rows.verify(&|| Ok(()))?;
        } else {
            // Few bytes, and numbers of documents that are none would be looked up in tantivy's own lists.
            files.rows.verify_lists()?;
        }
        let index = match files.index {
            Ok(None) => Ok(None),
            Ok(Some((file, name))) => AnnFile::open(file, &name).map(Some).map_err(|error| error.to_string()),
            Err(why) => Err(why),
        };
        let (segment, device) = (reader.segment_id(), options.device.as_ref());
        let open = |rows| Arc::new(FieldVectors::open(rows, &index, segment, device));
        let fields: Vec<Arc<FieldVectors>> = files.rows.into_fields().into_iter().map(open).collect();
        for field in &fields {
            if let Err(Some(why)) = &field.index {
                // Once for each time the segment is opened; searches report it too.
                tracing::warn!(
                    segment = reader.segment_id().uuid_string(),
                    field = field.rows.field().name(),
                    "an approximate index is not used, its rows are scanned instead: {why}"
                );
            }
        }
        Ok(SegmentVectors { fields, alive: Mutex::default() })
    }

    /// The vectors of a field.
    pub(crate) fn field(&self, field: &VectorField) -> Result<&Arc<FieldVectors>, DenseError> {
        let found = self.fields.iter().find(|vectors| vectors.rows.field() == field);
        found.ok_or_else(|| DenseError::ForeignField { name: field.name().to_owned() })
    }

    pub(crate) fn fields(&self) -> &[Arc<FieldVectors>] {
        &self.fields
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
pub(crate) struct OpenSegments {
    options: DenseOptions,
    known: Mutex<HashMap<SegmentId, Weak<SegmentVectors>>>,
    /// Held for searchers that no warmer has seen.
    loose: Mutex<HashMap<SegmentId, Arc<SegmentVectors>>>,
    holders: Mutex<Vec<Arc<SegmentHolder>>>,
}

impl OpenSegments {
    pub(crate) fn new(options: DenseOptions) -> Self {
        Self { options, known: Mutex::default(), loose: Mutex::default(), holders: Mutex::default() }
    }

    fn known(&self, id: SegmentId) -> Option<Arc<SegmentVectors>> {
        lock(&self.known).get(&id)?.upgrade()
    }

    fn open(&self, reader: &SegmentReader) -> Result<Arc<SegmentVectors>, DenseError> {
        if let Some(vectors) = self.known(reader.segment_id()) {
            return Ok(vectors);
        }
        self.read(reader, SegmentFiles::open(reader)?)
    }

    fn read(&self, reader: &SegmentReader, files: SegmentFiles) -> Result<Arc<SegmentVectors>, DenseError> {
        // Not under the lock: it reads whole files. A second thread may do the same work, and does no harm.
        let vectors = Arc::new(SegmentVectors::open(&self.options, reader, files)?);
        self.forget_readers();
        let mut known = lock(&self.known);
        known.retain(|_, vectors| vectors.strong_count() > 0);
        known.insert(reader.segment_id(), Arc::downgrade(&vectors));
        Ok(vectors)
    }

    /// The vectors of a segment of `searcher`.
    pub(crate) fn get(&self, searcher: &Searcher, reader: &SegmentReader) -> Result<Arc<SegmentVectors>, DenseError> {
        if let Some(vectors) = self.known(reader.segment_id()) {
            return Ok(vectors);
        }
        let vectors = self.open(reader)?;
        let mut loose = lock(&self.loose);
        if loose.len() >= LOOSE_KEPT {
            let here: HashSet<SegmentId> = searcher.segment_readers().iter().map(SegmentReader::segment_id).collect();
            loose.retain(|id, _| here.contains(id));
        }
        loose.insert(reader.segment_id(), Arc::clone(&vectors));
        Ok(vectors)
    }

    /// Lets go of what readers held that are gone: tantivy does not say so when one is dropped.
    fn forget_readers(&self) {
        // A reader keeps weak references to its warmers: without any, there is no reader.
        lock(&self.holders).retain(|holder| Arc::weak_count(holder) > 0);
    }

    /// A new warmer, kept until its reader is gone.
    pub(crate) fn holder(self: &Arc<Self>) -> Weak<dyn Warmer> {
        let holder = Arc::new(SegmentHolder { segments: Arc::downgrade(self), held: Mutex::default() });
        let warmer: Arc<dyn Warmer> = holder.clone();
        // Before it is pushed, or another thread might take it for one whose reader is gone.
        let known_by = Arc::downgrade(&warmer);
        self.forget_readers();
        lock(&self.holders).push(holder);
        known_by
    }
}

/// Opens what a reader's searchers will need, and closes what none of them needs any more.
pub(crate) struct SegmentHolder {
    segments: Weak<OpenSegments>,
    held: Mutex<HashMap<SegmentId, Arc<SegmentVectors>>>,
}

impl Warmer for SegmentHolder {
    fn warm(&self, searcher: &Searcher) -> tantivy::Result<()> {
        let Some(segments) = self.segments.upgrade() else { return Ok(()) };
        // All files first, because a merge may replace the later segments while the earlier ones are read.
        let mut opened = Vec::new();
        for reader in searcher.segment_readers() {
            match segments.known(reader.segment_id()) {
                Some(vectors) => drop(lock(&self.held).insert(reader.segment_id(), vectors)),
                None => opened.push((reader, SegmentFiles::open(reader)?)),
            }
        }
        for (reader, files) in opened {
            let vectors = segments.read(reader, files)?;
            vectors.fields.iter().for_each(FieldVectors::prepare);
            lock(&self.held).insert(reader.segment_id(), vectors);
        }
        Ok(())
    }

    fn garbage_collect(&self, live: &[&SearcherGeneration]) {
        lock(&self.held).retain(|id, _| live.iter().any(|generation| generation.segments().contains_key(id)));
    }
}
