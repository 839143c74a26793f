//! The embedding writer: documents go in with their text, vectors are made on the way.
//!
//! It wraps tantivy's [`IndexWriter`] and keeps its meaning: what was added becomes visible at
//! [`commit`](EmbeddingWriter::commit), and [`rollback`](EmbeddingWriter::rollback) goes back to the last commit.
//! One thread collects documents into batches and encodes them while tantivy's own threads index those of the batch
//! before. The queue in front of it is bounded, so a caller that is faster than the model waits.

mod encode;
mod operation;
mod recovery;
mod settings;
mod shared;
mod unchanged;
mod worker;

use std::sync::Arc;
use std::sync::atomic::Ordering;
// Not crossbeam's channel: it keeps queued messages when the receiver is dropped, and a caller that waits for an answer to one would
// wait for ever.
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use adam_encoder::TextEncoder;
use tantivy::query::Query;
use tantivy::schema::{Field, FieldType, Schema, Type, Value};
use tantivy::{Index, IndexWriter, Opstamp, TantivyDocument, Term};
use tantivy_dense::{Dense, VectorField};

pub(crate) use recovery::begin;
pub use settings::{Embedding, Failure, OnFailure, Progress, WriterSettings};
pub use shared::Pulse;

use crate::chunk::Chunking;
use crate::error::PluginError;
use crate::hash::{self, HashFields};
use crate::template::Bound;
use operation::{Addition, Operation};
use shared::Shared;
use unchanged::LastCommit;
use worker::{Chunks, Worker};

/// Adds documents to a tantivy index and makes their vectors on the way.
///
/// ```
/// use std::sync::Arc;
/// use adam_encoder::{EncoderError, TextEncoder, TextKind};
/// use adam_plugin::{Embedding, EmbeddingWriter, WriterSettings};
/// use tantivy::schema::{STORED, Schema, TEXT};
/// use tantivy::doc;
/// use tantivy_dense::{Dense, VectorField, VectorOptions};
///
/// /// Counts letters: a model of a kind. A real one is `adam_encoder::SentenceEncoder`.
/// struct Letters;
/// impl TextEncoder for Letters {
///     fn dimension(&self) -> usize { 26 }
///     fn fingerprint(&self) -> &str { "letters 1" }
///     fn name(&self) -> &str { "letters" }
///     fn encode(&self, texts: &[&str], _: TextKind) -> Result<Vec<Vec<f32>>, EncoderError> {
///         let count = |text: &&str| {
///             let mut vector = vec![0.1; 26];
///             for byte in text.bytes().filter(u8::is_ascii_lowercase) {
///                 vector[usize::from(byte - b'a')] += 1.0;
///             }
///             vector
///         };
///         Ok(texts.iter().map(count).collect())
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut schema = Schema::builder();
/// let title = schema.add_text_field("title", TEXT | STORED);
/// let vector = VectorField::add_to(&mut schema, "title_vector", VectorOptions::cosine(26))?;
/// let dense = Dense::new();
/// let index = dense.index_builder().schema(schema.build()).create_in_ram()?;
///
/// let embedding = Embedding::new(vector.clone(), "{title}".parse()?);
/// let mut writer = EmbeddingWriter::new(&dense, index.writer(50_000_000)?, Arc::new(Letters), vec![embedding], WriterSettings::default())?;
/// writer.add_document(doc!(title => "abc"))?;
/// writer.add_document(doc!(title => "xyz"))?;
/// writer.commit()?;
///
/// let searcher = dense.reader(&index)?.searcher();
/// assert!(dense.vector(&searcher, &vector, tantivy::DocAddress::new(0, 0))?.is_some());
/// # Ok(())
/// # }
/// ```
pub struct EmbeddingWriter {
    index: Index,
    schema: Schema,
    templates: Vec<(VectorField, Bound)>,
    key: Option<Field>,
    hashes: Option<HashFields>,
    fingerprint: String,
    shared: Arc<Shared>,
    operations: Option<SyncSender<(u64, Operation)>>,
    thread: Option<JoinHandle<()>>,
}

impl EmbeddingWriter {
    /// Wraps a writer. Each [`Embedding`] says which text of a document goes into which vector field.
    ///
    /// # Errors
    /// When there is no embedding, a field of a template, key or hash is missing or of the wrong kind, a vector field
    /// has another dimension than the model, or the thread cannot be started.
    pub fn new(
        dense: &Dense,
        writer: IndexWriter,
        encoder: Arc<dyn TextEncoder>,
        embeddings: Vec<Embedding>,
        settings: WriterSettings,
    ) -> Result<Self, PluginError> {
        settings.check()?;
        let index = writer.index().clone();
        let schema = index.schema();
        if embeddings.is_empty() {
            return Err(PluginError::Setting {
                name: "embeddings",
                problem: "is empty; name at least one vector field".to_owned(),
            });
        }
        let chunking = chunking(&embeddings)?;
        let mut templates = Vec::with_capacity(embeddings.len());
        for Embedding { destination, template, .. } in embeddings {
            let expected = destination.options().dimension();
            if expected != encoder.dimension() {
                let problem = format!(
                    "holds vectors of {expected} values, and the model `{}` gives {}",
                    encoder.name(),
                    encoder.dimension()
                );
                return Err(PluginError::field(destination.name(), problem));
            }
            VectorField::from_schema(&schema, destination.name())?;
            templates.push((destination, template.bind(&schema)?));
        }
        let key = settings.key.as_deref().map(|name| key_field(&schema, name)).transpose()?;
        let chunks = chunking.map(|chunking| Chunks::new(chunking, &schema, key)).transpose()?;
        let hashes = if settings.skip_unchanged {
            if key.is_none() {
                return Err(PluginError::Setting {
                    name: "skip_unchanged",
                    problem: "needs a key field, to find the document as it was".to_owned(),
                });
            }
            Some(HashFields::from_schema(&schema)?)
        } else {
            None
        };
        let committed = match (key, hashes) {
            (Some(key), Some(_)) => {
                let fields = templates.iter().map(|(field, _)| field.clone()).collect();
                Some(LastCommit::new(dense, &index, key, fields)?)
            }
            _ => None,
        };
        recovery::begin(&writer)?;
        let shared = Arc::new(Shared::default());
        let (operations, queue) = sync_channel(settings.queue);
        let worker = Worker {
            writer: Some(writer),
            index: index.clone(),
            reopen: settings.reopen,
            failed: None,
            encoder: Arc::clone(&encoder),
            fields: templates.iter().map(|(field, _)| field.clone()).collect(),
            hashes,
            chunks,
            committed,
            on_failure: settings.on_failure,
            batch: settings.batch,
            linger: settings.linger,
            progress: settings.progress,
            folder: settings.folder,
            shared: Arc::clone(&shared),
            queue,
        };
        let thread = std::thread::Builder::new()
            .name("embed".to_owned())
            .spawn(move || {
                let shared = Arc::clone(&worker.shared);
                let run = || {
                    worker.run();
                    Ok(())
                };
                if let Err(fault) = PluginError::guarded("the writer's thread", run) {
                    let mut state = shared.state();
                    state.dead = true;
                    state.stopped = Some(fault.to_string());
                }
            })
            .map_err(|source| PluginError::io("start", "the embedding thread", source))?;
        Ok(Self {
            index,
            schema,
            templates,
            key,
            hashes,
            fingerprint: encoder.fingerprint().to_owned(),
            shared,
            operations: Some(operations),
            thread: Some(thread),
        })
    }

    /// Adds a document; its vectors are made later, in a batch. A vector that the document brings along is kept.
    /// Waits while the queue is full.
    ///
    /// # Errors
    /// When the writer has stopped after an earlier failure. Failures of this document come at the next call or at the
    /// commit, as the policy says.
    pub fn add_document(&self, document: TantivyDocument) -> Result<(), PluginError> {
        self.add(document, false)
    }

    /// Adds a document and deletes all others with the same key. With `skip_unchanged`, nothing is done if the committed document is
    /// the same, and its vectors are kept if only the embedded text is the same.
    ///
    /// # Errors
    /// As [`add_document`](Self::add_document), and when the writer has no key field or the document no single key.
    pub fn update_document(&self, document: TantivyDocument) -> Result<(), PluginError> {
        self.add(document, true)
    }

    /// Deletes the documents with this term, among those added so far.
    ///
    /// # Errors
    /// As [`add_document`](Self::add_document).
    pub fn delete_term(&self, term: Term) -> Result<(), PluginError> {
        self.send(Operation::DeleteTerm(term))
    }

    /// Deletes the documents that match a query, among those added so far.
    ///
    /// # Errors
    /// As [`add_document`](Self::add_document).
    pub fn delete_query(&self, query: Box<dyn Query>) -> Result<(), PluginError> {
        self.send(Operation::DeleteQuery(query))
    }

    /// Deletes all documents added so far.
    ///
    /// # Errors
    /// As [`add_document`](Self::add_document).
    pub fn delete_all_documents(&self) -> Result<(), PluginError> {
        self.delete_query(Box::new(tantivy::query::AllQuery))
    }

    /// Encodes and indexes everything that is waiting, and makes it visible and safe on disk.
    ///
    /// # Errors
    /// When a document failed (with [`OnFailure::Fail`]) or tantivy could not commit; nothing since the last commit
    /// is visible then, and [`rollback`](Self::rollback) lets the writer continue.
    pub fn commit(&mut self) -> Result<Opstamp, PluginError> {
        self.start_commit()?.wait()
    }

    /// Starts a commit of everything added so far without waiting for it, so that several threads can keep adding
    /// documents meanwhile; those belong to the commit after it.
    ///
    /// # Errors
    /// When the writer has stopped after an earlier failure; those of the commit come from [`PendingCommit::wait`].
    pub fn start_commit(&self) -> Result<PendingCommit, PluginError> {
        let (answer, answered) = sync_channel(1);
        self.send(Operation::Commit(answer))?;
        Ok(PendingCommit { answered, shared: Arc::clone(&self.shared) })
    }

    /// Forgets everything since the last commit, also what waits to be encoded.
    ///
    /// Where tantivy's writer cannot go back, it is given up and a fresh one is opened ([`WriterSettings::reopen`]); what was not
    /// committed is gone all the same. Between the two the index is not locked, so another program may come first.
    ///
    /// # Errors
    /// When neither can be done: the writer has stopped then, [`stopped`](Self::stopped) says why, and another call tries again. A
    /// call within a tenth of a second of one that failed only repeats what that one said.
    pub fn rollback(&mut self) -> Result<Opstamp, PluginError> {
        // What is queued in front of the rollback carries a lower number, and is thrown away unread.
        self.shared.generation.fetch_add(1, Ordering::SeqCst);
        let (answer, answered) = sync_channel(1);
        self.deliver(Operation::Rollback(answer))?;
        answered.recv().map_err(|_| self.gone())?
    }

    /// Documents taken, encoded, skipped, so far.
    pub fn progress(&self) -> Progress {
        self.shared.state().progress
    }

    /// Why the writer takes nothing more until [`rollback`](Self::rollback); `None` while it works.
    pub fn stopped(&self) -> Option<String> {
        self.shared.state().stopped.clone()
    }

    /// The state of the writer's thread, without waiting for it; it can be read while another thread uses the writer.
    pub fn pulse(&self) -> Pulse {
        Pulse(Arc::clone(&self.shared))
    }

    /// The documents that failed since the last call, and so were left out or indexed without vectors.
    pub fn take_failures(&self) -> Vec<Failure> {
        std::mem::take(&mut self.shared.state().failures)
    }

    /// The index that is written to.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Encodes and indexes what is waiting, and gives tantivy's writer back, uncommitted.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub fn into_inner(mut self) -> Result<IndexWriter, PluginError> {
        let (answer, answered) = sync_channel(1);
        self.send(Operation::Close(answer))?;
        let writer = answered.recv().map_err(|_| self.gone())??;
        self.operations = None;
        if let Some(thread) = self.thread.take() {
            // It has delivered everything; how it ended no longer matters.
            let _ = thread.join();
        }
        Ok(*writer)
    }

    /// Waits for merges that are running, then closes the writer. What was not committed is lost.
    ///
    /// # Errors
    /// When a merge failed.
    pub fn wait_merging_threads(self) -> Result<(), PluginError> {
        Ok(self.into_inner()?.wait_merging_threads()?)
    }

    fn add(&self, mut document: TantivyDocument, replaces: bool) -> Result<(), PluginError> {
        let key = match self.key_term(&document) {
            Ok(key) => Some(key),
            Err(error) if replaces => return Err(error),
            Err(_) => None,
        };
        let texts: Vec<(Field, Option<String>)> = self
            .templates
            .iter()
            .map(|(field, template)| {
                // A vector that the caller brought is the caller's business.
                let brought = document.get_first(field.field()).is_some();
                (field.field(), if brought { None } else { template.render(&document) })
            })
            .collect();
        let has_vector = |field: &VectorField| document.get_first(field.field()).is_some();
        if texts.iter().all(|(_, text)| text.is_none()) && !self.templates.iter().any(|(field, _)| has_vector(field)) {
            self.shared.state().progress.without_text += 1;
        }
        let hashes = self.hashes.map(|fields| {
            let text = hash::of_texts(&self.fingerprint, &texts);
            let whole = hash::of_document(&self.schema, &document, text);
            document.add_u64(fields.document, whole);
            document.add_u64(fields.text, text);
            (whole, text)
        });
        self.send(Operation::Add(Box::new(Addition {
            name: self.name_of(&document),
            document,
            texts: texts.into_iter().map(|(_, text)| text).collect(),
            key,
            replaces,
            hashes,
        })))
    }

    fn key_term(&self, document: &TantivyDocument) -> Result<Term, PluginError> {
        let field = self.key.ok_or(PluginError::Setting {
            name: "key",
            problem: "is not set, so the document to replace is not known".to_owned(),
        })?;
        let mut values = document.get_all(field);
        let refuse = |problem: &str| PluginError::Document {
            document: self.name_of(document),
            problem: format!("field `{}` {problem}", self.schema.get_field_name(field)),
        };
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(refuse("must hold exactly one value, the key"));
        };
        if let Some(text) = value.as_str() {
            Ok(Term::from_field_text(field, text))
        } else if let Some(number) = value.as_u64() {
            Ok(Term::from_field_u64(field, number))
        } else if let Some(number) = value.as_i64() {
            Ok(Term::from_field_i64(field, number))
        } else if let Some(bytes) = value.as_bytes() {
            Ok(Term::from_field_bytes(field, bytes))
        } else {
            Err(refuse("is of a type that cannot be a key"))
        }
    }

    /// What a document is called in messages.
    fn name_of(&self, document: &TantivyDocument) -> String {
        let value = self.key.and_then(|field| document.get_first(field));
        let name = match value {
            Some(value) => value
                .as_str()
                .map(str::to_owned)
                .or_else(|| value.as_u64().map(|number| number.to_string()))
                .or_else(|| value.as_i64().map(|number| number.to_string())),
            None => None,
        };
        name.unwrap_or_else(|| "without a key".to_owned())
    }

    fn send(&self, operation: Operation) -> Result<(), PluginError> {
        if let Some(problem) = &self.shared.state().stopped {
            return Err(PluginError::WriterStopped { problem: problem.clone() });
        }
        self.deliver(operation)
    }

    fn deliver(&self, operation: Operation) -> Result<(), PluginError> {
        let generation = self.shared.generation.load(Ordering::SeqCst);
        let queue = self.operations.as_ref().ok_or(PluginError::WriterGone)?;
        queue.send((generation, operation)).map_err(|_| self.gone())
    }

    fn gone(&self) -> PluginError {
        self.shared.gone()
    }
}

/// A commit under way; see [`EmbeddingWriter::start_commit`].
#[must_use = "whether the commit succeeded is known only after `wait`"]
pub struct PendingCommit {
    answered: Receiver<Result<Opstamp, PluginError>>,
    shared: Arc<Shared>,
}

impl PendingCommit {
    /// Waits until the commit is done.
    ///
    /// # Errors
    /// As [`EmbeddingWriter::commit`].
    pub fn wait(self) -> Result<Opstamp, PluginError> {
        self.answered.recv().map_err(|_| self.shared.gone())?
    }
}

impl Drop for EmbeddingWriter {
    fn drop(&mut self) {
        // As with tantivy's writer, what was not committed is dropped.
        self.shared.generation.fetch_add(1, Ordering::SeqCst);
        self.operations = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How the one embedding cuts texts, if it does.
fn chunking(embeddings: &[Embedding]) -> Result<Option<Chunking>, PluginError> {
    let Some(chunking) = embeddings.iter().find_map(|embedding| embedding.chunks) else { return Ok(None) };
    chunking.check()?;
    if embeddings.len() > 1 {
        return Err(PluginError::Setting {
            name: "chunks",
            problem: format!("are possible for one vector field, and there are {}", embeddings.len()),
        });
    }
    Ok(Some(chunking))
}

/// The key field, if it can serve as one.
fn key_field(schema: &Schema, name: &str) -> Result<Field, PluginError> {
    let field =
        schema.get_field(name).map_err(|_| PluginError::field(name, "is not in the schema, and was to be the key"))?;
    let entry = schema.get_field_entry(field);
    let raw = match entry.field_type() {
        FieldType::Str(options) => options.get_indexing_options().is_some_and(|indexing| indexing.tokenizer() == "raw"),
        other => matches!(other.value_type(), Type::U64 | Type::I64 | Type::Bytes) && entry.is_indexed(),
    };
    if raw {
        Ok(field)
    } else {
        Err(PluginError::field(
            name,
            "cannot be the key: it must be indexed as one term (STRING, or an indexed number or bytes field)",
        ))
    }
}
