//! The thread behind an embedding writer: collects, encodes, hands over to tantivy.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use adam_encoder::TextEncoder;
use tantivy::query::Query;
use tantivy::schema::{Field, Schema, Type, Value};
use tantivy::{Index, IndexWriter, Opstamp, TantivyDocument, Term};
use tantivy_dense::VectorField;

use super::encode;
use super::operation::{Addition, Operation};
use super::settings::{Failure, OnFailure, Progress, ProgressCallback, Reopen};
use super::shared::Shared;
use super::unchanged::{DocumentState, LastCommit};
use crate::chunk::{ChunkFields, Chunking};
use crate::error::PluginError;
use crate::folder::IndexFolder;
use crate::hash::HashFields;

/// Most failures kept for [`take_failures`](super::EmbeddingWriter::take_failures).
const MAX_FAILURES: usize = 100_000;

/// Texts for each document of a batch, on average, from which on a batch is encoded before all of it was looked at.
const TEXTS_PER_DOCUMENT: usize = 4;

pub(super) struct Worker {
    /// `None` after a failed rollback, until a fresh writer is open.
    pub(super) writer: Option<IndexWriter>,
    pub(super) index: Index,
    pub(super) reopen: Reopen,
    /// When going back last failed, and how.
    pub(super) failed: Option<Instant>,
    pub(super) encoder: Arc<dyn TextEncoder>,
    pub(super) fields: Vec<VectorField>,
    pub(super) hashes: Option<HashFields>,
    pub(super) chunks: Option<Chunks>,
    pub(super) committed: Option<LastCommit>,
    pub(super) on_failure: OnFailure,
    pub(super) batch: usize,
    pub(super) linger: Duration,
    pub(super) progress: Option<ProgressCallback>,
    pub(super) folder: Option<IndexFolder>,
    pub(super) shared: Arc<Shared>,
    pub(super) queue: Receiver<(u64, Operation)>,
}

/// How documents become several.
pub(super) struct Chunks {
    chunking: Chunking,
    fields: ChunkFields,
    schema: Schema,
    key: Field,
}

impl Chunks {
    pub(super) fn new(chunking: Chunking, schema: &Schema, key: Option<Field>) -> Result<Self, PluginError> {
        let fields = ChunkFields::from_schema(schema)?;
        let text = key.filter(|&key| schema.get_field_entry(key).field_type().value_type() == Type::Str);
        let key = text.ok_or(PluginError::Setting {
            name: "chunks",
            problem: "need a text field as the key, to know which document a chunk is of".to_owned(),
        })?;
        Ok(Self { chunking, fields, schema: schema.clone(), key })
    }

    fn key_of(&self, document: &TantivyDocument) -> String {
        document.get_first(self.key).and_then(|key| key.as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// A term of the key that names a document's further chunks, too.
    fn widened(&self, term: Term) -> Term {
        if term.field() != self.key {
            return term;
        }
        let key = term.value().as_str().map(|key| self.fields.all_of(key));
        key.unwrap_or(term)
    }
}

/// A text to encode: which vector field it is for, where it is among the texts of the batch, and which bytes of the
/// document's text it is. Of several for one field, the first is the document's own and the others are further chunks.
struct Slot {
    field: usize,
    at: usize,
    range: Range<usize>,
}

/// A step towards tantivy, in the order the caller asked for.
enum Step {
    Write(Box<Addition>),
    DeleteTerm(Term),
    DeleteQuery(Box<dyn Query>),
}

/// An operation that needs everything before it done.
enum Barrier {
    Commit(SyncSender<Result<Opstamp, PluginError>>),
    Rollback(SyncSender<Result<Opstamp, PluginError>>),
    Close(SyncSender<Result<Box<IndexWriter>, PluginError>>),
    /// The caller is gone.
    End,
}

impl Worker {
    pub(super) fn run(mut self) {
        loop {
            let (generation, steps, barrier) = self.collect();
            self.shared.beat();
            self.shared.busy.store(true, Ordering::SeqCst);
            if !steps.is_empty() && self.shared.state().stopped.is_none() {
                // What a panic leaves half done is thrown away with the rest: a writer that stopped does nothing until it has gone back.
                let done = PluginError::guarded("writing a batch", || self.process(generation, steps));
                if let Err(error) = done {
                    self.stop(error);
                }
            }
            match barrier {
                None => {}
                Some(Barrier::Commit(answer)) => {
                    // A caller who no longer listens has dropped the writer.
                    let _ = answer.send(self.commit());
                }
                Some(Barrier::Rollback(answer)) => {
                    let _ = answer.send(self.rollback());
                }
                Some(Barrier::Close(answer)) => {
                    let result = self.stopped_error();
                    let _ = answer.send(match (result, self.writer.take()) {
                        (Some(error), _) => Err(error),
                        (None, Some(writer)) => Ok(Box::new(writer)),
                        (None, None) => Err(PluginError::WriterGone),
                    });
                    return;
                }
                Some(Barrier::End) => return,
            }
            self.shared.beat();
            self.shared.busy.store(false, Ordering::SeqCst);
        }
    }

    /// Takes operations until there is a batch to encode, an operation that must wait for all before it, or no more for a moment.
    /// Operations before a rollback or before the end of the writer are dropped. A batch is of one generation, since there is
    /// always a rollback between two.
    fn collect(&self) -> (u64, Vec<Step>, Option<Barrier>) {
        let mut steps = Vec::new();
        let mut additions = 0;
        let mut deadline: Option<Instant> = None;
        let mut batch_generation = 0;
        loop {
            let next = match deadline {
                None => self.queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(deadline) => self.queue.recv_timeout(deadline.saturating_duration_since(Instant::now())),
            };
            let (generation, operation) = match next {
                Ok(next) => next,
                Err(RecvTimeoutError::Timeout) => return (batch_generation, steps, None),
                Err(RecvTimeoutError::Disconnected) => {
                    steps.clear();
                    return (batch_generation, steps, Some(Barrier::End));
                }
            };
            let void = generation < self.shared.generation.load(Ordering::SeqCst);
            match operation {
                Operation::Rollback(answer) => {
                    steps.clear();
                    return (batch_generation, steps, Some(Barrier::Rollback(answer)));
                }
                _ if void => continue,
                Operation::Commit(answer) => return (batch_generation, steps, Some(Barrier::Commit(answer))),
                Operation::Close(answer) => return (batch_generation, steps, Some(Barrier::Close(answer))),
                Operation::DeleteTerm(term) => steps.push(Step::DeleteTerm(term)),
                Operation::DeleteQuery(query) => steps.push(Step::DeleteQuery(query)),
                Operation::Add(addition) => {
                    steps.push(Step::Write(addition));
                    additions += 1;
                    if additions == self.batch {
                        return (generation, steps, None);
                    }
                }
            }
            batch_generation = generation;
            if deadline.is_none() {
                deadline = Some(Instant::now() + self.linger);
            }
        }
    }

    fn process(&mut self, generation: u64, steps: Vec<Step>) -> Result<(), PluginError> {
        let mut tally = Progress::default();
        let mut planned = Vec::with_capacity(steps.len());
        let mut texts: Vec<String> = Vec::new();
        let most = self.batch.saturating_mul(TEXTS_PER_DOCUMENT);
        for step in steps {
            // Long documents are many texts: what waits in memory is bounded by these, not by the documents.
            if texts.len() >= most {
                let (planned, texts) = (std::mem::take(&mut planned), std::mem::take(&mut texts));
                if !self.hand_over(generation, planned, &texts, &mut tally)? {
                    return Ok(());
                }
            }
            let Step::Write(mut addition) = step else {
                self.note_delete(&step);
                planned.push((step, Vec::new()));
                continue;
            };
            tally.documents += 1;
            match self.state_of(&addition)? {
                DocumentState::Unchanged => {
                    tally.unchanged += 1;
                    continue;
                }
                DocumentState::SameText(vectors) => {
                    let mut taken = false;
                    for (slot, vector) in vectors.into_iter().enumerate() {
                        // A document that was indexed as text only has none; then its text is encoded now.
                        // Of a document in several chunks, this is the vector of the first only.
                        if let (Some(vector), Some(text)) = (vector, &addition.texts[slot])
                            && self.ranges(text).len() == 1
                        {
                            self.mark(&mut addition.document, &(0..text.len()));
                            self.fields[slot].add(&mut addition.document, &vector)?;
                            addition.texts[slot] = None;
                            taken = true;
                        }
                    }
                    tally.reused += u64::from(taken);
                }
                DocumentState::New => {}
            }
            if let (Some(committed), Some(key), Some((document, _))) =
                (&mut self.committed, &addition.key, addition.hashes)
            {
                if addition.replaces {
                    committed.written(key, document);
                } else {
                    // There may be several documents of this key now.
                    committed.unsure(key);
                }
            }
            let mut slots = Vec::new();
            for (slot, text) in addition.texts.iter_mut().enumerate() {
                if let Some(text) = text.take() {
                    let ranges = self.ranges(&text);
                    let many = ranges.len() > 1;
                    for range in ranges.into_iter().filter(|_| many) {
                        let part = text.get(range.clone()).unwrap_or(&text).to_owned();
                        slots.push(Slot { field: slot, at: texts.len(), range });
                        texts.push(part);
                    }
                    if !many {
                        slots.push(Slot { field: slot, at: texts.len(), range: 0..text.len() });
                        texts.push(text);
                    }
                }
            }
            planned.push((Step::Write(addition), slots));
        }
        if !self.hand_over(generation, planned, &texts, &mut tally)? {
            return Ok(());
        }
        let mut state = self.shared.state();
        let whole = &mut state.progress;
        whole.documents += tally.documents;
        whole.encoded += tally.encoded;
        whole.unchanged += tally.unchanged;
        whole.reused += tally.reused;
        whole.failed += tally.failed;
        let now = *whole;
        drop(state);
        if let Some(tell) = &mut self.progress {
            tell(now);
        }
        Ok(())
    }

    /// Encodes texts and does the steps they are of, in order; false where these were rolled back or dropped meanwhile, so
    /// that there was no need to.
    fn hand_over(
        &mut self,
        generation: u64,
        planned: Vec<(Step, Vec<Slot>)>,
        texts: &[String],
        tally: &mut Progress,
    ) -> Result<bool, PluginError> {
        let mut vectors = encode::texts(self.encoder.as_ref(), &self.shared, texts);
        if generation < self.shared.generation.load(Ordering::SeqCst) {
            return Ok(false);
        }
        tally.encoded += vectors.iter().filter(|vector| vector.is_ok()).count() as u64;
        for (step, slots) in planned {
            match step {
                Step::DeleteTerm(term) => {
                    self.delete_term(term)?;
                }
                Step::DeleteQuery(query) => {
                    self.writer()?.delete_query(query)?;
                }
                Step::Write(addition) => {
                    tally.failed += u64::from(!self.write(*addition, &slots, &mut vectors)?);
                }
            }
        }
        Ok(true)
    }

    fn state_of(&self, addition: &Addition) -> Result<DocumentState, PluginError> {
        match (&self.committed, &addition.key, addition.hashes) {
            (Some(committed), Some(key), Some((document, text))) if addition.replaces => {
                committed.state_of(key, document, text)
            }
            _ => Ok(DocumentState::New),
        }
    }

    fn note_delete(&mut self, step: &Step) {
        let Some(committed) = &mut self.committed else { return };
        match step {
            // Only the key field's terms say which keys are gone; any other may have taken any document.
            Step::DeleteTerm(term) if committed.is_key(term) => committed.unsure(term),
            Step::DeleteTerm(_) | Step::DeleteQuery(_) => committed.deleted_at_large(),
            Step::Write(_) => {}
        }
    }

    fn writer(&self) -> Result<&IndexWriter, PluginError> {
        self.writer.as_ref().ok_or(PluginError::WriterGone)
    }

    /// Hands a document to tantivy; false where it failed and was left out or lost its vectors.
    fn write(
        &mut self,
        mut addition: Addition,
        slots: &[Slot],
        vectors: &mut [Result<Vec<f32>, String>],
    ) -> Result<bool, PluginError> {
        let mut problem = None;
        let mut further = Vec::new();
        let mut last_field = None;
        for slot in slots {
            let vector = std::mem::replace(&mut vectors[slot.at], Ok(Vec::new()));
            let field = &self.fields[slot.field];
            let first = last_field.replace(slot.field) != Some(slot.field);
            let added = vector.and_then(|vector| {
                if first {
                    self.mark(&mut addition.document, &slot.range);
                    field.add(&mut addition.document, &vector).map_err(|error| error.to_string())
                } else {
                    let part = further.len() + 1;
                    let mut chunk = self.chunk_of(&addition.document, part, &slot.range);
                    field.add(&mut chunk, &vector).map_err(|error| error.to_string())?;
                    further.push(chunk);
                    Ok(())
                }
            });
            if let Err(fault) = added {
                problem = Some(fault);
            }
        }
        let whole = problem.is_none();
        if let Some(problem) = problem {
            if self.on_failure == OnFailure::Fail {
                return Err(PluginError::Document {
                    document: addition.name,
                    problem: format!("it cannot be embedded: {problem}"),
                });
            }
            let mut state = self.shared.state();
            if state.failures.len() < MAX_FAILURES {
                let document = addition.name.clone();
                state.failures.push(Failure { document, problem });
            }
            drop(state);
            // What was noted about its key when the batch was planned is no longer true.
            if let (Some(committed), Some(key)) = (&mut self.committed, &addition.key) {
                committed.unsure(key);
            }
            if self.on_failure == OnFailure::Skip {
                return Ok(false);
            }
            if let Some(hashes) = self.hashes {
                // Without its vectors it must not pass for unchanged the next time.
                addition.document = without(&addition.document, &[hashes.document, hashes.text]);
            }
        }
        if let Some(key) = addition.key.filter(|_| addition.replaces) {
            self.delete_term(key)?;
        }
        // One without a vector of its own, since it has no text or its first chunk failed, is a document all the same: unmarked,
        // it would not count, and nothing could delete or replace it.
        self.mark(&mut addition.document, &(0..0));
        let writer = self.writer()?;
        writer.add_document(addition.document)?;
        if whole {
            for chunk in further {
                writer.add_document(chunk)?;
            }
        }
        Ok(whole)
    }

    fn delete_term(&self, term: Term) -> Result<(), PluginError> {
        self.writer()?.delete_term(match &self.chunks {
            Some(chunks) => chunks.widened(term),
            None => term,
        });
        Ok(())
    }

    /// The chunks of a text: the whole text if texts are not split, or if it cannot be tokenised, which the model will
    /// report.
    fn ranges(&self, text: &str) -> Vec<Range<usize>> {
        let whole = || vec![0..text.len()];
        match &self.chunks {
            Some(chunks) => {
                let encoder = self.encoder.as_ref();
                let split = || Ok(chunks.chunking.split(encoder, text)?);
                PluginError::guarded("cutting a text into chunks", split).unwrap_or_else(|_| whole())
            }
            None => whole(),
        }
    }

    /// Notes in a document which bytes of its text its own vector is of, once.
    fn mark(&self, document: &mut TantivyDocument, range: &Range<usize>) {
        if let Some(chunks) = &self.chunks
            && document.get_first(chunks.fields.parent).is_none()
        {
            chunks.fields.mark(document, &chunks.key_of(document), 0, range);
        }
    }

    /// A further chunk of a document, without its vector yet.
    fn chunk_of(&self, document: &TantivyDocument, part: usize, range: &Range<usize>) -> TantivyDocument {
        let Some(chunks) = &self.chunks else { return TantivyDocument::new() };
        let mut chunk = ChunkFields::shared(&chunks.schema, chunks.key, document);
        chunks.fields.mark(&mut chunk, &chunks.key_of(document), part, range);
        chunk
    }
}

/// A document without some of its fields.
fn without(document: &TantivyDocument, fields: &[tantivy::schema::Field]) -> TantivyDocument {
    let mut kept = TantivyDocument::new();
    for (field, value) in document.field_values() {
        if !fields.contains(&field) {
            kept.add_field_value(field, value);
        }
    }
    kept
}
