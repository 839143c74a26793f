//! The one object behind an index with vectors: plugin, open segments, settings.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use tantivy::directory::error::OpenReadError;
use tantivy::schema::{Document, Schema};
use tantivy::{
    Directory, DocAddress, Index, IndexBuilder, IndexReader, IndexReaderBuilder, IndexWriter, Opstamp, Searcher,
    Segment, SegmentPlugin, SegmentReader, TantivyDocument, Warmer,
};

use crate::ann::AnnFile;
use crate::components::{EXTENSIONS, ann_component};
use crate::directory::DurableDirectory;
use crate::info::SegmentInfo;
use crate::inner::Inner;
use crate::options::DenseOptions;
use crate::plugin::DensePlugin;
use crate::schema::check_same;
use crate::warm::{OpenSegments, SegmentVectors, ann_file_name, open_rows};
use crate::{DenseError, VectorField};

/// What an index with vectors needs beside tantivy: the plugin that writes them, and the segments opened for search.
///
/// Cheap to clone; clones are the same object. One is enough for any number of indexes, but not for two copies of one
/// index that were changed apart: segments are known by the number that tantivy gave them.
///
/// ```
/// # fn main() -> Result<(), tantivy_dense::DenseError> {
/// use tantivy::schema::{STORED, Schema, TEXT};
/// use tantivy::TantivyDocument;
/// use tantivy_dense::{Dense, KnnQuery, VectorField, VectorOptions};
///
/// let mut schema = Schema::builder();
/// let title = schema.add_text_field("title", TEXT | STORED);
/// let vector = VectorField::add_to(&mut schema, "vector", VectorOptions::cosine(2))?;
/// let dense = Dense::new();
/// let index = dense.index_builder().schema(schema.build()).create_in_ram()?;
///
/// let mut writer = dense.writer(&index, 50_000_000)?;
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

impl Dense {
    /// With the default settings.
    pub fn new() -> Dense {
        Dense::with_options(DenseOptions::default())
    }

    /// With settings of one's own.
    pub fn with_options(options: DenseOptions) -> Dense {
        let segments = Arc::new(OpenSegments::new(options.clone()));
        let inner = Inner { options, segments, cancelled: AtomicBool::new(false) };
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
    /// As [`Dense::open`], and [`DenseError::OtherSchema`] where an index is there with another schema: it names the field and what
    /// differs. A field's dimension, metric and options are part of the schema.
    pub fn open_or_create(folder: impl AsRef<Path>, schema: Schema) -> Result<(Dense, Index), DenseError> {
        let dense = Dense::new();
        let directory = DurableDirectory::open(folder)?;
        let index = if Index::exists(&directory)? {
            let index = dense.open_index(directory)?;
            check_same(&index.schema(), &schema)?;
            index
        } else {
            dense.index_builder().schema(schema).open_or_create(directory)?
        };
        Ok((dense, index))
    }

    /// A tantivy index builder with the plugin registered, for settings of one's own: sorting, tokenizers, a directory.
    ///
    /// Its `open_or_create` also opens an index that was made without the plugin, which cannot take vectors: [`Dense::reader`] and
    /// [`Dense::writer`] then refuse it. [`Dense::open_or_create`] and [`Dense::open_index`] refuse it at once.
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

    /// A writer of an index, with `memory` bytes for all its threads, ready for work: [`Dense::prepare`] has seen to it.
    ///
    /// # Errors
    /// tantivy's, such as a lock that another writer holds, and those of [`Dense::prepare`].
    pub fn writer(&self, index: &Index, memory: usize) -> Result<IndexWriter, DenseError> {
        let writer = index.writer(memory)?;
        self.prepare(&writer)?;
        Ok(writer)
    }

    /// Does for a writer that was just opened what tantivy 0.27 leaves to its user, before the first operation:
    ///
    /// - Files that a killed or failed commit left behind are removed. One of deletions bears a name that the same commit, done again,
    ///   needs, and tantivy would refuse to write it.
    /// - An empty operation is sent. tantivy stamps a writer's first operation like the last commit; a deletion with that stamp can
    ///   be applied by a merge before it is committed, or be lost.
    /// - The [merge policy](Dense::merge_policy) of this crate is set. For one of your own, set it afterwards.
    ///
    /// ```
    /// # fn main() -> Result<(), tantivy_dense::DenseError> {
    /// # use tantivy::IndexWriter;
    /// # use tantivy::schema::Schema;
    /// # use tantivy_dense::{Dense, VectorField, VectorOptions};
    /// # let mut schema = Schema::builder();
    /// # VectorField::add_to(&mut schema, "vector", VectorOptions::cosine(2))?;
    /// # let dense = Dense::new();
    /// # let index = dense.index_builder().schema(schema.build()).create_in_ram()?;
    /// let writer: IndexWriter = index.writer_with_num_threads(2, 100_000_000)?;
    /// dense.prepare(&writer)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// tantivy's, and [`DenseError::MadeWithoutPlugin`].
    pub fn prepare<D: Document>(&self, writer: &IndexWriter<D>) -> Result<(), DenseError> {
        check_made_with_plugin(writer.index())?;
        writer.garbage_collect_files().wait()?;
        writer.run([])?;
        writer.set_merge_policy(Box::new(self.merge_policy(writer.index())?));
        Ok(())
    }

    /// Goes back to the last commit, as [`IndexWriter::rollback`], and prepares the writer anew: a rollback makes a new writer within,
    /// with tantivy's own merge policy. The stamp of the last commit.
    ///
    /// # Errors
    /// tantivy's.
    pub fn rollback<D: Document>(&self, writer: &mut IndexWriter<D>) -> Result<Opstamp, DenseError> {
        let stamp = writer.rollback()?;
        self.prepare(writer)?;
        Ok(stamp)
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
    /// tantivy's, this crate's about files that cannot be read, and [`DenseError::MadeWithoutPlugin`].
    pub fn reader(&self, index: &Index) -> Result<IndexReader, DenseError> {
        check_made_with_plugin(index)?;
        steadily(index, || self.reader_builder(index).try_into())
    }

    /// Has a reader made here look for the last commit. Where a merge takes a segment's files away just then, it looks again.
    ///
    /// # Errors
    /// tantivy's, and this crate's about files that cannot be read.
    pub fn reload(&self, index: &Index, reader: &IndexReader) -> Result<(), DenseError> {
        steadily(index, || reader.reload())
    }

    /// As [`Dense::reader`], for a reader with settings of one's own. If these are warmers, [`Dense::warmer`] goes first among them.
    pub fn reader_builder(&self, index: &Index) -> IndexReaderBuilder {
        index.reader_builder().warmers(vec![self.warmer()])
    }

    /// What opens the vectors of a reader's searchers before they are handed out, for a reader that has other warmers too: the
    /// builder's `warmers` replaces what was set before. One for each reader; it is kept until the reader is gone.
    ///
    /// ```
    /// # fn main() -> Result<(), tantivy_dense::DenseError> {
    /// # use std::sync::{Arc, Weak};
    /// # use tantivy::schema::Schema;
    /// # use tantivy::{IndexReader, Searcher, SearcherGeneration, Warmer};
    /// # use tantivy_dense::{Dense, VectorField, VectorOptions};
    /// # struct Own;
    /// # impl Warmer for Own {
    /// #     fn warm(&self, _: &Searcher) -> tantivy::Result<()> { Ok(()) }
    /// #     fn garbage_collect(&self, _: &[&SearcherGeneration]) {}
    /// # }
    /// # let mut schema = Schema::builder();
    /// # VectorField::add_to(&mut schema, "vector", VectorOptions::cosine(2))?;
    /// # let dense = Dense::new();
    /// # let index = dense.index_builder().schema(schema.build()).create_in_ram()?;
    /// let own: Arc<dyn Warmer> = Arc::new(Own);
    /// let reader: IndexReader =
    ///     dense.reader_builder(&index).warmers(vec![dense.warmer(), Arc::downgrade(&own)]).try_into()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn warmer(&self) -> Weak<dyn Warmer> {
        self.inner.segments.holder()
    }

    /// A stored document with its vectors put back, to be changed and added again.
    ///
    /// Vectors are not part of the document store: what [`Searcher::doc`] returns has none, and added again, it would be a document
    /// without vectors. Vectors come back as they are kept, rounded to the field's element type and, under cosine, at length 1. Other
    /// fields that are not stored are missing here as there.
    ///
    /// ```
    /// # use tantivy::schema::{STORED, STRING, Schema};
    /// # use tantivy::{TantivyDocument, Term};
    /// # use tantivy_dense::{Dense, VectorField, VectorOptions};
    /// # fn main() -> Result<(), tantivy_dense::DenseError> {
    /// # let mut schema = Schema::builder();
    /// # let id = schema.add_text_field("id", STRING | STORED);
    /// # let price = schema.add_u64_field("price", STORED);
    /// # let vector = VectorField::add_to(&mut schema, "vector", VectorOptions::cosine(2))?;
    /// # let dense = Dense::new();
    /// # let index = dense.index_builder().schema(schema.build()).create_in_ram()?;
    /// # let mut writer = dense.writer(&index, 50_000_000)?;
    /// # let mut first = TantivyDocument::new();
    /// # first.add_text(id, "kettle");
    /// # vector.add(&mut first, &[0.6, 0.8])?;
    /// # writer.add_document(first)?;
    /// # writer.commit()?;
    /// # let reader = dense.reader(&index)?;
    /// # let searcher = reader.searcher();
    /// # let address = tantivy::DocAddress::new(0, 0);
    /// let mut document = dense.document(&searcher, address)?;
    /// document.add_u64(price, 12);
    /// writer.delete_term(Term::from_field_text(id, "kettle"));
    /// writer.add_document(document)?;
    /// writer.commit()?;
    /// # reader.reload()?;
    /// # let again = dense.vector(&reader.searcher(), &vector, tantivy::DocAddress::new(0, 0))?;
    /// # assert!(again.is_some());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// tantivy's about the store, and those of [`Dense::vector`].
    pub fn document(&self, searcher: &Searcher, address: DocAddress) -> Result<TantivyDocument, DenseError> {
        let fields = VectorField::all(searcher.schema())?;
        let vectors =
            fields.iter().map(|field| self.vector(searcher, field, address)).collect::<Result<Vec<_>, _>>()?;
        let mut document: TantivyDocument = searcher.doc(address)?;
        for (field, vector) in fields.iter().zip(vectors) {
            if let Some(vector) = vector {
                field.add(&mut document, &vector)?;
            }
        }
        Ok(document)
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
        index.searchable_segments()?.iter().try_for_each(verify_segment)
    }

    /// The files of vectors and approximate indexes that do not hold what was written, each with what is wrong: all that
    /// [`verify`](Self::verify) would find.
    ///
    /// # Errors
    /// When the list of segments cannot be read.
    pub fn damage(&self, index: &Index) -> Result<Vec<(String, String)>, DenseError> {
        let segments = index.searchable_segments()?;
        let checked = segments.iter().map(|segment| (segment, verify_segment(segment)));
        Ok(checked
            .filter_map(|(segment, verified)| {
                let fault = verified.err()?;
                let file = match &fault {
                    DenseError::Corrupt { file, .. } | DenseError::NoRows { file } => file.clone(),
                    _ => segment.id().uuid_string(),
                };
                Some((file, fault.to_string()))
            })
            .collect())
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
        self.inner.segments.get(searcher, reader)
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

fn verify_segment(segment: &Segment) -> Result<(), DenseError> {
    let reader = SegmentReader::open(segment)?;
    let fields = VectorField::all(reader.schema())?;
    open_rows(&reader, &fields)?.verify(&|| Ok(()))?;
    match reader.open_read(ann_component()) {
        Ok(file) => AnnFile::open(file, &ann_file_name(reader.segment_id()))?.verify(),
        Err(OpenReadError::FileDoesNotExist(_)) => Ok(()),
        Err(error) => Err(error.into()),
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
            // A file may be gone a moment before the list of segments says so.
            Err(tantivy::TantivyError::OpenReadError(OpenReadError::FileDoesNotExist(_))) => {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
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
