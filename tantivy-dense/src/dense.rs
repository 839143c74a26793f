//! The one object behind an index with vectors: plugin, open segments, settings.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tantivy::directory::error::OpenReadError;
use tantivy::schema::Schema;
use tantivy::{
    Directory, DocAddress, Index, IndexBuilder, IndexReader, IndexReaderBuilder, Searcher, SegmentPlugin, SegmentReader,
};

use crate::ann::{AnnFile, AnnPolicy};
use crate::directory::DurableDirectory;
use crate::info::SegmentInfo;
use crate::plugin::{DensePlugin, EXTENSIONS, ann_component};
use crate::warm::{OpenSegments, SegmentVectors, ann_file_name, open_rows};
use crate::{DenseError, Device, VectorField};

/// Settings of a [`Dense`]. They can differ from one start of a program to the next.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DenseOptions {
    /// Whether a segment's checksums are compared when it is opened for search, once per segment. It reads every
    /// vector, some gigabytes a second where the files are in memory, and finds what a disk or a copy damaged before a
    /// search can answer from it. Default: true.
    ///
    /// With false, what would be followed blindly is read all the same: the lists of documents in `.vec`, and each index in
    /// `.ann`, whole and once, for its checksum; beside a graph that was written without its rows, these too, since a value
    /// that is no number would lead its search astray. Segments without an index are opened without reading their rows.
    pub verify_on_open: bool,
    /// What merges build over the rows they write, and how it is searched by default; has no effect without the feature
    /// `faiss`. Default: from 50,000 rows of 768 values or as many values otherwise, and no fewer than 10,000 rows, a
    /// graph; from five million rows on an inverted file. A field can name its own index
    /// ([`VectorOptions::index`](crate::VectorOptions::index)).
    pub ann: AnnPolicy,
    /// Where rows are compared, if not on the processor alone: a GPU, which takes a copy of every segment's rows when it
    /// is opened. Default: none.
    pub device: Option<Device>,
}

impl DenseOptions {
    /// Whether checksums are compared when a segment is opened.
    #[must_use]
    pub fn verify_on_open(mut self, verify: bool) -> DenseOptions {
        self.verify_on_open = verify;
        self
    }

    /// What merges build, and how it is searched by default.
    ///
    /// ```
    /// use tantivy_dense::ann::AnnPolicy;
    /// use tantivy_dense::{Dense, DenseOptions};
    /// // Lists with rows of one byte a value for every merged segment of 20,000 rows or more.
    /// let policy = AnnPolicy { nprobe: Some(32), ..AnnPolicy::always("IVF1024,SQ8", 20_000) };
    /// let dense = Dense::with_options(DenseOptions::default().ann(policy));
    /// ```
    #[must_use]
    pub fn ann(mut self, policy: AnnPolicy) -> DenseOptions {
        self.ann = policy;
        self
    }

    /// Compares rows on a device where it can, see [`Device`].
    #[must_use]
    pub fn device(mut self, device: Device) -> DenseOptions {
        self.device = Some(device);
        self
    }
}

impl Default for DenseOptions {
    fn default() -> DenseOptions {
        DenseOptions { verify_on_open: true, ann: AnnPolicy::default(), device: None }
    }
}

/// What an index with vectors needs beside tantivy: the plugin that writes them, and the segments opened for search.
///
/// Cheap to clone; clones are the same object. One is enough for any number of indexes, but not for two copies of one
/// index that were changed apart: segments are known by the number that tantivy gave them.
///
/// ```
/// # fn main() -> Result<(), tantivy_dense::DenseError> {
/// use tantivy::schema::{STORED, Schema, TEXT};
/// use tantivy::{IndexWriter, TantivyDocument};
/// use tantivy_dense::{Dense, KnnQuery, VectorField, VectorOptions};
///
/// let mut schema = Schema::builder();
/// let title = schema.add_text_field("title", TEXT | STORED);
/// let vector = VectorField::add_to(&mut schema, "vector", VectorOptions::cosine(2))?;
/// let dense = Dense::new();
/// let index = dense.index_builder().schema(schema.build()).create_in_ram()?;
///
/// let mut writer: IndexWriter = index.writer(50_000_000)?;
/// for (name, values) in [("north", [0.0, 1.0]), ("east", [1.0, 0.0]), ("north-east", [1.0, 1.0])] {
///     let mut document = TantivyDocument::new();
///     document.add_text(title, name);
///     vector.add(&mut document, &values)?;
///     writer.add_document(document)?;
/// }
/// writer.commit()?;
///
/// let searcher = dense.reader(&index)?.searcher();
/// let hits = KnnQuery::new(&dense, vector.clone(), vec![0.1, 0.9], 2).search(&searcher)?;
/// assert_eq!(dense.vector(&searcher, &vector, hits[0].address)?, Some(vec![0.0, 1.0]));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Dense {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) options: DenseOptions,
    pub(crate) segments: OpenSegments,
    cancelled: AtomicBool,
}

impl Inner {
    pub(crate) fn cancel_flag(&self) -> &AtomicBool {
        &self.cancelled
    }

    pub(crate) fn check_cancelled(&self) -> Result<(), DenseError> {
        if self.cancelled.load(Ordering::Relaxed) { Err(DenseError::Cancelled) } else { Ok(()) }
    }
}

impl Dense {
    /// With the default settings.
    pub fn new() -> Dense {
        Dense::with_options(DenseOptions::default())
    }

    /// With settings of one's own.
    pub fn with_options(options: DenseOptions) -> Dense {
        let inner = Inner { options, segments: OpenSegments::default(), cancelled: AtomicBool::new(false) };
        Dense { inner: Arc::new(inner) }
    }

    /// Makes a new index with vectors in an empty folder.
    ///
    /// # Errors
    /// tantivy's, such as [`tantivy::TantivyError::IndexAlreadyExists`].
    pub fn create_in_dir(folder: impl AsRef<Path>, schema: Schema) -> Result<(Dense, Index), DenseError> {
        let dense = Dense::new();
        let directory = DurableDirectory::open(folder)?;
        if Index::exists(&directory)? {
            return Err(tantivy::TantivyError::IndexAlreadyExists.into());
        }
        let index = dense.index_builder().schema(schema).open_or_create(directory)?;
        Ok((dense, index))
    }

    /// Opens an index with vectors.
    ///
    /// # Errors
    /// [`DenseError::MadeWithoutPlugin`] for an index that was made without vectors; tantivy's.
    pub fn open(folder: impl AsRef<Path>) -> Result<(Dense, Index), DenseError> {
        let dense = Dense::new();
        let index = dense.open_index(DurableDirectory::open(folder)?)?;
        Ok((dense, index))
    }

    /// Opens an index with vectors, or makes one where the folder has none.
    ///
    /// # Errors
    /// As [`Dense::open`], and tantivy's schema error where an index is there with another schema.
    pub fn open_or_create(folder: impl AsRef<Path>, schema: Schema) -> Result<(Dense, Index), DenseError> {
        let dense = Dense::new();
        let directory = DurableDirectory::open(folder)?;
        let index = dense.index_builder().schema(schema).open_or_create(directory)?;
        check_made_with_plugin(&index)?;
        Ok((dense, index))
    }

    /// A tantivy index builder with the plugin registered, for settings of one's own: sorting, tokenizers, a directory.
    pub fn index_builder(&self) -> IndexBuilder {
        Index::builder().register_plugin(self.plugin())
    }

    /// Opens an index in any tantivy directory, with the plugin.
    ///
    /// # Errors
    /// As [`Dense::open`].
    pub fn open_index(&self, directory: impl Into<Box<dyn Directory>>) -> Result<Index, DenseError> {
        let mut index = Index::open(directory)?;
        check_made_with_plugin(&index)?;
        index.register_plugin(self.plugin());
        Ok(index)
    }

    /// The plugin, to be registered where an index is made or opened by other means.
    pub fn plugin(&self) -> Arc<dyn SegmentPlugin> {
        Arc::new(DensePlugin(Arc::clone(&self.inner)))
    }

    /// A reader whose searchers have their vectors open before they are handed out.
    ///
    /// Searchers of other readers work too, but open a segment at its first search, which fails when a merge has
    /// replaced the segment by then.
    ///
    /// Open one and keep it: tantivy 0.27 starts a thread for every reader that prepares its searchers so, and that thread, asleep but
    /// for a moment each second, stays until the process ends.
    ///
    /// # Errors
    /// tantivy's, and this crate's about files that cannot be read.
    pub fn reader(&self, index: &Index) -> Result<IndexReader, DenseError> {
        steadily(index, || self.reader_builder(index).try_into())
    }

    /// Has a reader made here look for the last commit. Where a merge takes a segment's files away just then, it looks again.
    ///
    /// # Errors
    /// tantivy's, and this crate's about files that cannot be read.
    pub fn reload(&self, index: &Index, reader: &IndexReader) -> Result<(), DenseError> {
        steadily(index, || reader.reload())
    }

    /// As [`Dense::reader`], for a reader with settings of one's own. `warmers` of the builder must not be set again.
    pub fn reader_builder(&self, index: &Index) -> IndexReaderBuilder {
        index.reader_builder().warmers(vec![self.inner.segments.holder(&self.inner)])
    }

    /// The vector that was added with a document, up to the rounding of the field's element type and, under cosine, of
    /// its normalisation. `None` where the document has none. Deleted documents still have theirs.
    ///
    /// # Errors
    /// [`DenseError::ForeignField`] for a field of another index, [`DenseError::Query`] for an address beyond the
    /// searcher's documents, and errors about files.
    pub fn vector(
        &self,
        searcher: &Searcher,
        field: &VectorField,
        address: DocAddress,
    ) -> Result<Option<Vec<f32>>, DenseError> {
        let reader = searcher.segment_readers().get(address.segment_ord as usize);
        let Some(reader) = reader.filter(|reader| address.doc_id < reader.max_doc()) else {
            let why = format!("the searcher has no document {address:?}");
            return Err(DenseError::Query { field: field.name().to_owned(), why });
        };
        let segment = self.segment(searcher, reader)?;
        let rows = &segment.field(field)?.rows;
        Ok(rows.row_of(address.doc_id).map(|row| rows.vector(row)))
    }

    /// What is open for search in each segment of a searcher: rows, approximate indexes or why they are not used, and
    /// the bytes that both take in memory and in mapped files.
    ///
    /// # Errors
    /// About files that cannot be read, for a searcher of a reader that was not made by [`Dense::reader`].
    pub fn info(&self, searcher: &Searcher) -> Result<Vec<SegmentInfo>, DenseError> {
        let readers = searcher.segment_readers().iter();
        readers.map(|reader| self.segment(searcher, reader).map(|vectors| SegmentInfo::of(reader, &vectors))).collect()
    }

    /// Compares every checksum of the vectors of an index and of its approximate indexes, reading all of them.
    ///
    /// # Errors
    /// [`DenseError::Corrupt`] for the first file that does not hold what was written.
    pub fn verify(&self, index: &Index) -> Result<(), DenseError> {
        for segment in index.searchable_segments()? {
            let reader = SegmentReader::open(&segment)?;
            let fields = VectorField::all(reader.schema())?;
            open_rows(&reader, &fields)?.verify(&|| Ok(()))?;
            match reader.open_read(ann_component()) {
                Ok(file) => AnnFile::open(file, &ann_file_name(reader.segment_id()))?.verify()?,
                Err(OpenReadError::FileDoesNotExist(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Stops merges and builds of approximate indexes that are running, within about a second: for a program that is
    /// about to end. Their segments stay as they were. Later merges fail as well, until [`Dense::resume`].
    pub fn cancel(&self) {
        self.inner.cancelled.store(true, Ordering::Relaxed);
    }

    /// Allows merges again after [`Dense::cancel`].
    pub fn resume(&self) {
        self.inner.cancelled.store(false, Ordering::Relaxed);
    }

    pub(crate) fn segment(
        &self,
        searcher: &Searcher,
        reader: &SegmentReader,
    ) -> Result<Arc<SegmentVectors>, DenseError> {
        self.inner.segments.get(&self.inner, searcher, reader)
    }
}

impl Default for Dense {
    fn default() -> Dense {
        Dense::new()
    }
}

impl std::fmt::Debug for Dense {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Dense").field("options", &self.inner.options).finish_non_exhaustive()
    }
}

/// Opens segments again while they are replaced by others in the middle of it.
///
/// tantivy keeps a segment's files from being deleted while it opens its own, and prepares searchers after that.
fn steadily<T>(index: &Index, mut open: impl FnMut() -> tantivy::Result<T>) -> Result<T, DenseError> {
    let segments = || Some(index.searchable_segment_ids().ok()?.into_iter().collect::<HashSet<_>>());
    for _ in 1..ATTEMPTS {
        let before = segments();
        match open() {
            Err(_) if before != segments() => {}
            opened => return Ok(opened?),
        }
    }
    Ok(open()?)
}

/// Merges that may come in the way of one opening.
const ATTEMPTS: usize = 8;

/// tantivy itself finds out only when a writer is opened.
fn check_made_with_plugin(index: &Index) -> Result<(), DenseError> {
    let made_with = index.load_metas()?.persisted_custom_extensions;
    if EXTENSIONS.iter().all(|extension| made_with.iter().any(|made| made == extension)) {
        return Ok(());
    }
    Err(DenseError::MadeWithoutPlugin)
}
