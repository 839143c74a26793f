//! Gathers rows into training data: passages and queries get numbers, equal texts become one passage, what cannot be used is
//! written down.

use super::example::{Example, ExamplePassage};
use super::files::Flow;
use super::rows::shorten;
use super::{DataConfig, Dropped, MOST_DROPPED, Passages, TrainQuery, TrainingData, WrongRows};
use crate::error::TrainError;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// A passage as a row names it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum PassageRef {
    /// By its id in the table of passages.
    Id(String),
    /// By its text, with an id where there is one.
    Text { id: Option<String>, title: String, text: String },
}

/// A query as a row names it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum QueryRef {
    /// By its id in the table of queries.
    Id(String),
    /// By its text, with an id where there is one.
    Text { id: Option<String>, text: String },
}

/// One training row, whatever its format.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Instance {
    pub(super) query: QueryRef,
    pub(super) positives: Vec<PassageRef>,
    pub(super) negatives: Vec<PassageRef>,
    /// Of the positives, then of the negatives.
    pub(super) scores: Option<Vec<f32>>,
    /// What the row says of each, in the same order, where labels told positives from negatives.
    pub(super) grades: Option<Vec<String>>,
}

/// What judgements call a grade.
pub(super) const GRADE: &str = "grade";

/// Names of fields that are kept, however many a file makes up.
const MAX_UNREAD: usize = 50;
/// Rows that are shown as they were understood.
const EXAMPLES: usize = 3;

/// A query with its text.
struct Query {
    id: String,
    text: String,
    is_named: bool,
}

struct Draft {
    id: String,
    /// Whether the data named it; otherwise its id is a hash.
    is_named: bool,
    text: String,
    file: u32,
    line: u64,
    /// Passage, its score, whether it is a positive.
    passages: Vec<(u32, Option<f32>, bool)>,
}

/// A passage or query whose text is empty: known, so that rows which name it are told why it is not there.
const EMPTY: u32 = u32::MAX;

pub(super) struct Builder<'a> {
    config: &'a DataConfig,
    passages: Passages,
    passage_by_id: HashMap<String, u32>,
    passage_by_text: HashMap<[u8; 16], u32>,
    query_texts: HashMap<String, String>,
    drafts: Vec<Draft>,
    draft_by_id: HashMap<String, usize>,
    files: Vec<PathBuf>,
    rows_kept: u64,
    rows_dropped: u64,
    dropped: Vec<Dropped>,
    unread: BTreeMap<String, u64>,
    examples: Vec<Example>,
    /// Rows whose positive was the query itself.
    same_text: u64,
}

/// A name for a text: 128 bits of its SHA-256.
fn text_hash(title: &str, text: &str) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update((title.len() as u64).to_le_bytes());
    hash.update(title.as_bytes());
    hash.update(text.as_bytes());
    let full: [u8; 32] = hash.finalize().into();
    let mut half = [0; 16];
    half.copy_from_slice(&full[..16]);
    half
}

fn named_by_hash(kind: &str, hash: &[u8; 16]) -> String {
    let hex: String = hash.iter().take(8).map(|b| format!("{b:02x}")).collect();
    format!("{kind}-{hex}")
}

impl<'a> Builder<'a> {
    pub(super) fn new(config: &'a DataConfig) -> Self {
        Self {
            config,
            passages: Passages::default(),
            passage_by_id: HashMap::new(),
            passage_by_text: HashMap::new(),
            query_texts: HashMap::new(),
            drafts: Vec::new(),
            draft_by_id: HashMap::new(),
            files: Vec::new(),
            rows_kept: 0,
            rows_dropped: 0,
            dropped: Vec::new(),
            unread: BTreeMap::new(),
            examples: Vec::new(),
            same_text: 0,
        }
    }

    /// Counts fields that were not read.
    pub(super) fn unread(&mut self, names: Vec<String>) {
        for name in names {
            if self.unread.len() < MAX_UNREAD || self.unread.contains_key(&name) {
                *self.unread.entry(name).or_default() += 1;
            }
        }
    }

    /// Writes down a row that cannot be used; with `wrong_rows = "fail"` that is the end.
    pub(super) fn drop_row(&mut self, file: &Path, line: u64, reason: impl Into<String>) -> Result<(), TrainError> {
        let reason = reason.into();
        if self.config.wrong_rows == WrongRows::Fail {
            return Err(TrainError::row(file, line, reason));
        }
        self.rows_dropped += 1;
        self.list(file, line, reason);
        Ok(())
    }

    /// Writes down what is not used, without counting a row.
    fn list(&mut self, file: &Path, line: u64, reason: String) {
        if self.dropped.len() < MOST_DROPPED {
            self.dropped.push(Dropped { file: file.to_owned(), line, reason });
        }
    }

    /// Counts the row or writes down why it cannot be used, and asks for the next.
    pub(super) fn settle(&mut self, file: &Path, line: u64, outcome: Result<(), String>) -> Result<Flow, TrainError> {
        match outcome {
            Ok(()) => self.rows_kept += 1,
            Err(reason) => self.drop_row(file, line, reason)?,
        }
        Ok(Flow::Next)
    }

    /// Adds a row of the table of passages.
    pub(super) fn passage(&mut self, id: String, title: String, text: String) -> Result<(), String> {
        if self.passage_by_id.contains_key(&id) {
            return Err(format!("the passage id `{}` is there twice", shorten(&id)));
        }
        if title.trim().is_empty() && text.trim().is_empty() {
            let reason = format!("the passage `{}` has no text", shorten(&id));
            self.passage_by_id.insert(id, EMPTY);
            return Err(reason);
        }
        let number = self.push_passage(id.clone(), title, text)?;
        self.passage_by_id.insert(id, number);
        Ok(())
    }

    fn push_passage(&mut self, id: String, title: String, text: String) -> Result<u32, String> {
        let number = u32::try_from(self.passages.len())
            .ok()
            .filter(|&n| n < EMPTY)
            .ok_or_else(|| "more than 4,294,967,294 passages".to_owned())?;
        self.passages.ids.push(id);
        self.passages.titles.push(title);
        self.passages.texts.push(text);
        Ok(number)
    }

    /// Adds a row of the table of queries.
    pub(super) fn query(&mut self, id: String, text: String) -> Result<(), String> {
        if self.query_texts.contains_key(&id) {
            return Err(format!("the query id `{}` is there twice", shorten(&id)));
        }
        if text.trim().is_empty() {
            return Err(format!("the query `{}` has no text", shorten(&id)));
        }
        self.query_texts.insert(id, text);
        Ok(())
    }

    fn resolve(&mut self, reference: PassageRef) -> Result<u32, String> {
        match reference {
            PassageRef::Id(id) => match self.passage_by_id.get(&id) {
                Some(&EMPTY) => Err(format!("the passage `{}` has no text", shorten(&id))),
                Some(&number) => Ok(number),
                None => Err(format!("it names the passage `{}`, which is not in the table of passages", shorten(&id))),
            },
            PassageRef::Text { id, title, text } => {
                if title.trim().is_empty() && text.trim().is_empty() {
                    return Err("a passage has no text".to_owned());
                }
                if let Some(id) = &id
                    && let Some(&known) = self.passage_by_id.get(id)
                {
                    let same = |n: u32| {
                        self.passages.texts.get(n as usize) == Some(&text)
                            && self.passages.titles.get(n as usize) == Some(&title)
                    };
                    return if same(known) {
                        Ok(known)
                    } else {
                        Err(format!("the passage id `{}` stands for two different texts", shorten(id)))
                    };
                }
                let hash = text_hash(&title, &text);
                if id.is_none()
                    && let Some(&known) = self.passage_by_text.get(&hash)
                {
                    return Ok(known);
                }
                let name = id.clone().unwrap_or_else(|| named_by_hash("text", &hash));
                let number = self.push_passage(name, title, text)?;
                match id {
                    Some(id) => {
                        self.passage_by_id.insert(id, number);
                    }
                    None => {
                        self.passage_by_text.insert(hash, number);
                    }
                }
                Ok(number)
            }
        }
    }

    /// Adds a training row. Rows of the same query are joined.
    pub(super) fn instance(&mut self, file: &Path, line: u64, instance: Instance) -> Result<(), String> {
        let Instance { query, positives, negatives, scores, grades } = instance;
        let (id, text, is_named) = match query {
            QueryRef::Id(id) => {
                let text = self.query_texts.get(&id).cloned().ok_or_else(|| {
                    format!("it names the query `{}`, which is not in the table of queries", shorten(&id))
                })?;
                (id, text, true)
            }
            QueryRef::Text { text, .. } if text.trim().is_empty() => return Err("the query has no text".to_owned()),
            QueryRef::Text { id: Some(id), text } => (id, text, true),
            QueryRef::Text { id: None, text } => (named_by_hash("query", &text_hash("", &text)), text, false),
        };
        let total = positives.len() + negatives.len();
        if let Some(scores) = &scores
            && scores.len() != total
        {
            return Err(format!("it has {} scores for {total} passages", scores.len()));
        }
        if let Some(&draft) = self.draft_by_id.get(&id)
            && self.drafts[draft].text != text
        {
            return Err(format!("the query id `{}` stands for two different texts", shorten(&id)));
        }
        let first = positives.len();
        let is_same = |reference: &PassageRef| matches!(reference, PassageRef::Text { text: passage, .. } if passage.trim() == text.trim());
        if first > 0 && positives.iter().all(is_same) {
            self.same_text += 1;
            return Err("its positive is the query itself, which teaches nothing".to_owned());
        }
        let mut passages = Vec::with_capacity(total);
        for (place, reference) in positives.into_iter().chain(negatives).enumerate() {
            let number = self.resolve(reference)?;
            passages.push((number, scores.as_ref().map(|s| s[place]), place < first));
        }
        self.show(file, line, &text, &passages, grades.as_deref());
        self.join(file, line, Query { id, text, is_named }, passages);
        Ok(())
    }

    /// Keeps the first rows as they were understood.
    fn show(
        &mut self,
        file: &Path,
        line: u64,
        query: &str,
        passages: &[(u32, Option<f32>, bool)],
        grades: Option<&[String]>,
    ) {
        if self.examples.len() >= EXAMPLES {
            return;
        }
        let side = |wanted: bool| -> Vec<ExamplePassage> {
            let of_side = passages.iter().enumerate().filter(|(_, passage)| passage.2 == wanted);
            of_side
                .map(|(place, &(number, score, _))| ExamplePassage {
                    text: self.passages.full_text(number).unwrap_or_default(),
                    grade: grades.and_then(|grades| grades.get(place)).cloned(),
                    score,
                })
                .collect()
        };
        let example = Example {
            file: file.to_owned(),
            line,
            query: query.to_owned(),
            positives: side(true),
            negatives: side(false),
        };
        self.examples.push(example);
    }

    /// Adds one judgement: a positive, or a passage judged not relevant.
    pub(super) fn judgement(
        &mut self,
        file: &Path,
        line: u64,
        query: &str,
        passage: &str,
        positive: bool,
        grade: String,
    ) -> Result<(), String> {
        let text = self
            .query_texts
            .get(query)
            .cloned()
            .ok_or_else(|| format!("it names the query `{}`, which is not among the queries", shorten(query)))?;
        let number = self.resolve(PassageRef::Id(passage.to_owned()))?;
        let passages = vec![(number, None, positive)];
        self.show(file, line, &text, &passages, Some(&[grade]));
        self.join(file, line, Query { id: query.to_owned(), text, is_named: true }, passages);
        Ok(())
    }

    fn join(&mut self, file: &Path, line: u64, query: Query, passages: Vec<(u32, Option<f32>, bool)>) {
        let Query { id, text, is_named } = query;
        if let Some(&draft) = self.draft_by_id.get(&id) {
            self.drafts[draft].passages.extend(passages);
            return;
        }
        let file = match self.files.iter().rposition(|known| known == file) {
            Some(place) => place,
            None => {
                self.files.push(file.to_owned());
                self.files.len() - 1
            }
        };
        self.draft_by_id.insert(id.clone(), self.drafts.len());
        self.drafts.push(Draft { id, is_named, text, file: file as u32, line, passages });
    }

    /// Makes the training data. A query left without a positive is not used; a passage that is positive in one row and
    /// negative in another is a positive.
    pub(super) fn finish(mut self) -> Result<TrainingData, TrainError> {
        let unjudged = self.query_texts.keys().filter(|id| !self.draft_by_id.contains_key(*id)).count() as u64;
        let mut only_negatives = 0;
        let mut queries = Vec::with_capacity(self.drafts.len());
        for draft in std::mem::take(&mut self.drafts) {
            let mut order: Vec<u32> = Vec::new();
            let mut merged: HashMap<u32, (Option<f32>, bool)> = HashMap::new();
            for (number, score, positive) in draft.passages {
                let entry = merged.entry(number).or_insert_with(|| {
                    order.push(number);
                    (None, false)
                });
                entry.0 = entry.0.or(score);
                entry.1 |= positive;
            }
            let part = |positive: bool| -> Vec<u32> {
                order.iter().copied().filter(|n| merged.get(n).is_some_and(|e| e.1 == positive)).collect()
            };
            let (positives, negatives) = (part(true), part(false));
            if positives.is_empty() {
                let file = self.files.get(draft.file as usize).cloned().unwrap_or_default();
                let name = if draft.is_named { &draft.id } else { &draft.text };
                // No fault of a row: the data says that nothing there is relevant.
                self.list(&file, draft.line, format!("the query `{}` has no positive passage", shorten(name)));
                only_negatives += 1;
                continue;
            }
            // Scores are of use only when every candidate has one.
            let scores: Option<Vec<f32>> =
                positives.iter().chain(&negatives).map(|number| merged.get(number).and_then(|e| e.0)).collect();
            let (id, text) = (draft.id, draft.text);
            queries.push(TrainQuery { id, text, positives, negatives, scores, ..TrainQuery::default() });
        }
        Ok(TrainingData {
            passages: self.passages,
            queries,
            rows_kept: self.rows_kept,
            rows_dropped: self.rows_dropped,
            dropped: self.dropped,
            unjudged,
            only_negatives,
            same_text: self.same_text,
            unread: self.unread,
            examples: self.examples,
            ..TrainingData::default()
        })
    }
}
