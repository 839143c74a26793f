//! Evaluation on whole passages through the exported model, as it will be served; and the verdict.

use super::context::{Context, key_of};
use super::encode::{CorpusEncoder, encode, encoder, passage_texts};
use super::hybrid::{Arms, choose_weight, ranking};
use super::vectors::Vectors;
use crate::error::TrainError;
use crate::files::{hex, write_whole};
use crate::report::ChangedQuery;
use adam_encoder::TextKind;
use beir_eval::significance::{CompareOptions, compare_evaluations};
use beir_eval::{Collection, Document, EvalOptions, Evaluation, Metric, Qrels, Run, SelfHits, evaluate};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

/// What is measured.
pub(crate) const METRICS: [Metric; 4] = [Metric::Ndcg(10), Metric::Mrr(10), Metric::Recall(100), Metric::Map(100)];

/// What is evaluated on: queries with judgements, and documents.
pub(crate) struct TestSet {
    queries: Vec<(String, String)>,
    qrels: Qrels,
    ids: Vec<String>,
    /// Texts of the documents; none where they are the data's passages.
    texts: Option<Vec<String>>,
    /// Hash of all of it.
    key: String,
}

impl TestSet {
    /// Reads the split; none where evaluation is off or the data is no collection with that split.
    pub(crate) fn load(context: &Context<'_>) -> Result<Option<Self>, TrainError> {
        let config = &context.config.eval;
        if !config.enabled {
            return Ok(None);
        }
        let own = config.collection.is_none();
        let path = config.collection.as_deref().unwrap_or(&context.config.data.path);
        let collection = match Collection::open(path) {
            Ok(collection) if collection.has_queries() && collection.splits().contains(&config.split) => collection,
            Ok(_) | Err(_) if own => {
                context.reporter.say(&format!(
                    "eval: {} holds no `{}` split in BEIR layout; name one by [eval] collection and split, or this run has no verdict",
                    path.display(),
                    config.split
                ));
                return Ok(None);
            }
            Ok(_) => {
                return Err(TrainError::data(
                    path,
                    format!("holds no queries with judgements of the split `{}`", config.split),
                ));
            }
            Err(e) => return Err(e.into()),
        };
        let qrels = collection.qrels(&config.split)?;
        let queries = collection.queries()?;
        let queries: Vec<(String, String)> =
            queries.into_iter().filter(|q| qrels.get(&q.id).is_some()).map(|q| (q.id, q.text)).collect();
        let known: HashSet<&str> = queries.iter().map(|(id, _)| id.as_str()).collect();
        let silent = qrels.iter().filter(|(id, _)| !known.contains(id.as_str())).count();
        if silent > 0 {
            context.reporter.say(&format!(
                "warning: eval: {silent} of the judged queries of `{}` have no text; each counts as one that found nothing",
                config.split
            ));
        }
        // One document after the other, as a collection may be as large as memory allows.
        let mut documents = Sha256::new();
        let (ids, texts) = if own {
            (context.data.passages.ids.clone(), None)
        } else {
            let (mut ids, mut texts) = (Vec::new(), Vec::new());
            for document in collection.documents()? {
                let document = document?;
                documents.update(key_of(&[&document.id, &document.full_text()]));
                texts.push(document.full_text());
                ids.push(document.id);
            }
            (ids, Some(texts))
        };
        let key = key_of(&[&queries, &qrels, &hex(&documents.finalize())]);
        Ok(Some(Self { queries, qrels, ids, texts, key }))
    }

    /// Hash of what is judged: queries, judgements and, where they are not the data's, documents.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Ranks every query's documents by the model and judges the ranking. `corpus` holds vectors of the data's passages where
    /// somebody made them already.
    pub(crate) fn measure(
        &self,
        context: &Context<'_>,
        model: &Path,
        folder: &Path,
        name: &str,
    ) -> Result<Measured, TrainError> {
        let encoder = encoder(context, model)?;
        let corpus = match &self.texts {
            Some(texts) => encode(context, &encoder, texts, TextKind::Document, &folder.join("corpus.vectors"), name)?,
            None => {
                let texts = passage_texts(&context.data.passages);
                encode(context, &encoder, &texts, TextKind::Document, &folder.join("passages.vectors"), name)?
            }
        };
        if let Some(exported) = encoder.exported() {
            corpus.share(&folder.join("passages.npy"), exported, &self.ids)?;
        }
        let itself = self.self_hits(context);
        let texts: Vec<&str> = self.queries.iter().map(|q| q.1.as_str()).collect();
        let vectors = encoder.encode(&texts, TextKind::Query, &mut |_| ())?;
        let mut run = Run::new();
        for ((id, _), vector) in self.queries.iter().zip(&vectors) {
            let depth = context.config.eval.depth;
            let nearest = corpus.nearest(vector, depth + 1).into_iter();
            let mut hits: Vec<(String, f64)> =
                nearest.map(|(row, score)| (self.ids[row].clone(), f64::from(score))).collect();
            itself.drop_from(&self.qrels, id, &mut hits);
            hits.truncate(depth);
            run.insert(id.clone(), hits);
        }
        run.write(folder.join("test.run"), "adam")?;
        let evaluation = evaluate(&self.qrels, &run, &METRICS, &EvalOptions::default());
        let (hybrid, weight) = self.hybrid(context, &encoder, &corpus, &vectors, &itself)?;
        hybrid.write(folder.join("hybrid.run"), "adam-hybrid")?;
        let of_hybrid = evaluate(&self.qrels, &hybrid, &METRICS, &EvalOptions::default());
        let measured = Measured {
            hybrid: METRICS.iter().map(|&m| (m.to_string(), of_hybrid.mean(m))).collect(),
            hybrid_weight: weight,
            ..Measured::of(&evaluation, evaluation_queries(&evaluation))
        };
        let text = serde_json::to_vec_pretty(&measured).map_err(|e| TrainError::internal(e.to_string()))?;
        write_whole(&folder.join("test.json"), &text)?;
        Ok(measured)
    }

    /// The ranking of a hybrid search with this model, and its weight: chosen on held-out queries where the collection is the data's own.
    fn hybrid(
        &self,
        context: &Context<'_>,
        encoder: &CorpusEncoder,
        corpus: &Vectors,
        vectors: &[Vec<f32>],
        itself: &SelfHits,
    ) -> Result<(Run, f32), TrainError> {
        let text = |row: usize| match &self.texts {
            Some(texts) => texts[row].clone(),
            None => context.data.passages.full_text(row as u32).unwrap_or_default(),
        };
        let arms = Arms::of(self.ids.len(), &text, corpus)?;
        let dev = if self.texts.is_none() { context.data.dev.as_slice() } else { &[] };
        let asked: Vec<&str> = dev.iter().map(|query| query.text.as_str()).collect();
        let of_dev = encoder.encode(&asked, TextKind::Query, &mut |_| ())?;
        let judged: Vec<_> = dev
            .iter()
            .zip(&of_dev)
            .map(|(query, vector)| (arms.search(&query.text, vector), query.positives.as_slice()))
            .collect();
        let weight = choose_weight(&judged);
        let mut run = Run::new();
        for ((id, text), vector) in self.queries.iter().zip(vectors) {
            let ranked = ranking(&arms.search(text, vector), weight).into_iter();
            let mut hits: Vec<(String, f64)> =
                ranked.map(|(row, score)| (self.ids[row as usize].clone(), f64::from(score))).collect();
            itself.drop_from(&self.qrels, id, &mut hits);
            hits.truncate(context.config.eval.depth);
            run.insert(id.clone(), hits);
        }
        Ok((run, weight))
    }

    /// The queries that are documents of the corpus, which do not find themselves.
    fn self_hits(&self, context: &Context<'_>) -> SelfHits {
        let rows: HashMap<&str, usize> = self.ids.iter().enumerate().map(|(row, id)| (id.as_str(), row)).collect();
        let text = |row: usize| match &self.texts {
            Some(texts) => texts[row].clone(),
            None => context.data.passages.full_text(row as u32).unwrap_or_default(),
        };
        SelfHits::find(self.queries.iter().map(|(id, text)| (id.as_str(), text.as_str())), |id| {
            let row = *rows.get(id)?;
            Some(Document { id: id.to_owned(), text: text(row), ..Document::default() })
        })
    }

    /// nDCG@10 of every test query in a run that [`TestSet::measure`] wrote.
    pub(crate) fn per_query(&self, folder: &Path) -> Result<Vec<(String, f64)>, TrainError> {
        let run = Run::read(folder.join("test.run"))?;
        Ok(evaluate(&self.qrels, &run, &METRICS, &EvalOptions::default()).per_query(Metric::Ndcg(10)))
    }

    /// Every test query whose ranking two runs judge differently, with the first document of each.
    pub(crate) fn changed(
        &self,
        context: &Context<'_>,
        before: &Path,
        after: &Path,
    ) -> Result<Vec<ChangedQuery>, TrainError> {
        let read = |folder: &Path| -> Result<(Run, HashMap<String, f64>), TrainError> {
            let run = Run::read(folder.join("test.run"))?;
            Ok((run, self.per_query(folder)?.into_iter().collect()))
        };
        let ((run_before, of_before), (run_after, of_after)) = (read(before)?, read(after)?);
        let rows: HashMap<&str, usize> = self.ids.iter().enumerate().map(|(row, id)| (id.as_str(), row)).collect();
        let first = |run: &Run, query: &str| -> (String, bool) {
            let Some(id) = run.get(query).and_then(|hits| hits.first()).map(|hit| hit.0.clone()) else {
                return (String::new(), false);
            };
            let text = rows.get(id.as_str()).map(|&row| match &self.texts {
                Some(texts) => texts[row].clone(),
                None => context.data.passages.full_text(row as u32).unwrap_or_default(),
            });
            let is_relevant = self.qrels.get(query).and_then(|of| of.get(&id)).is_some_and(|&grade| grade > 0);
            (text.unwrap_or_default().chars().take(240).collect(), is_relevant)
        };
        let changed = |(id, text): &(String, String)| {
            let (before, after) = (*of_before.get(id)?, *of_after.get(id)?);
            (before != after).then(|| ChangedQuery {
                query: text.clone(),
                before,
                after,
                first_before: first(&run_before, id),
                first_after: first(&run_after, id),
            })
        };
        Ok(self.queries.iter().filter_map(changed).collect())
    }

    /// Compares two runs that [`TestSet::measure`] wrote.
    pub(crate) fn verdict(&self, context: &Context<'_>, before: &Path, after: &Path) -> Result<Verdict, TrainError> {
        let judge = |folder: &Path, name: &str| -> Result<Evaluation, TrainError> {
            let run = Run::read(folder.join(name))?;
            Ok(evaluate(&self.qrels, &run, &METRICS, &EvalOptions::default()))
        };
        let hybrid = (judge(before, "hybrid.run")?, judge(after, "hybrid.run")?);
        let (before, after) = (judge(before, "test.run")?, judge(after, "test.run")?);
        let options = CompareOptions {
            permutations: context.config.eval.permutations,
            seed: context.config.run.seed,
            ..CompareOptions::default()
        };
        let comparison = compare_evaluations(&after, &before, Metric::Ndcg(10), &options)?;
        let of_hybrid = compare_evaluations(&hybrid.1, &hybrid.0, Metric::Ndcg(10), &options)?;
        Ok(Verdict {
            kept_start: false,
            hybrid: Some(HybridVerdict {
                before: hybrid.0.mean(Metric::Ndcg(10)),
                after: hybrid.1.mean(Metric::Ndcg(10)),
                p_value: of_hybrid.p_value,
            }),
            before: before.mean(Metric::Ndcg(10)),
            after: after.mean(Metric::Ndcg(10)),
            p_value: comparison.p_value,
            low: comparison.low,
            high: comparison.high,
        })
    }
}

fn evaluation_queries(evaluation: &Evaluation) -> usize {
    evaluation.num_queries()
}

/// Means over the test queries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Value by metric, such as `ndcg@10`.
    pub metrics: BTreeMap<String, f64>,
    /// Number of queries.
    pub queries: usize,
    /// The same of a hybrid search with BM25.
    #[serde(default)]
    pub hybrid: BTreeMap<String, f64>,
    /// Weight of the dense score in it.
    #[serde(default)]
    pub hybrid_weight: f32,
}

impl Measured {
    fn of(evaluation: &Evaluation, queries: usize) -> Self {
        Self {
            metrics: METRICS.iter().map(|&m| (m.to_string(), evaluation.mean(m))).collect(),
            queries,
            hybrid: BTreeMap::new(),
            hybrid_weight: super::hybrid::DEFAULT_WEIGHT,
        }
    }

    /// For a line of text.
    pub fn describe(&self) -> String {
        let mut parts: Vec<String> = self.metrics.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
        if let Some(value) = self.hybrid.get("ndcg@10") {
            parts.push(format!("hybrid ndcg@10 {value:.4} (dense weight {:.2})", self.hybrid_weight));
        }
        parts.join("  ")
    }
}

/// Before against after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// nDCG@10 of the model before training.
    pub before: f64,
    /// nDCG@10 of the student.
    pub after: f64,
    /// Of the paired randomisation test.
    pub p_value: f64,
    /// Lower end of the bootstrap interval of the difference.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// The same of a hybrid search with BM25.
    #[serde(default)]
    pub hybrid: Option<HybridVerdict>,
    /// Whether the student is the model before training, since nothing that was trained ranks held-out queries better.
    #[serde(default)]
    pub kept_start: bool,
}

/// Hybrid search with the model before training against hybrid search with the student.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HybridVerdict {
    /// nDCG@10 with the model before training.
    pub before: f64,
    /// nDCG@10 with the student.
    pub after: f64,
    /// Of the paired randomisation test.
    pub p_value: f64,
}

impl Verdict {
    /// `better` or `worse` when the difference is significant at 5 %, else `not significantly different`.
    pub fn word(&self) -> &'static str {
        if self.p_value < 0.05 && self.after > self.before {
            "better"
        } else if self.p_value < 0.05 && self.after < self.before {
            "worse"
        } else {
            "not significantly different"
        }
    }

    /// The last line of a run.
    pub fn line(&self) -> String {
        let p = super::dev::written(self.p_value);
        let hybrid = self.hybrid.map_or_else(String::new, |hybrid| {
            let p = super::dev::written(hybrid.p_value);
            format!("; hybrid {:.3} -> {:.3} ({p})", hybrid.before, hybrid.after)
        });
        let kept =
            if self.kept_start { "; the start model is kept, nothing ranks held-out queries better" } else { "" };
        format!("VERDICT: {} nDCG@10 {:.3} -> {:.3} ({p}){hybrid}{kept}", self.word(), self.before, self.after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_takes_sides_only_where_the_test_is_sure() {
        let verdict = |before, after, p_value| Verdict {
            before,
            after,
            p_value,
            low: 0.0,
            high: 0.0,
            hybrid: None,
            kept_start: false,
        };
        assert_eq!(verdict(0.645, 0.68, 0.012).line(), "VERDICT: better nDCG@10 0.645 -> 0.680 (p = 0.012)");
        assert_eq!(
            verdict(0.912, 0.928, 0.75).line(),
            "VERDICT: not significantly different nDCG@10 0.912 -> 0.928 (p = 0.750)"
        );
        assert_eq!(verdict(0.645, 0.68, 0.05).word(), "not significantly different");
        assert_eq!(verdict(0.645, 0.61, 0.0001).line(), "VERDICT: worse nDCG@10 0.645 -> 0.610 (p < 0.001)");
        assert_eq!(verdict(0.645, 0.645, 0.0).word(), "not significantly different");
        let hybrid = Some(HybridVerdict { before: 0.745, after: 0.765, p_value: 0.004 });
        let both = Verdict { hybrid, ..verdict(0.645, 0.72, 0.0001) };
        assert_eq!(
            both.line(),
            "VERDICT: better nDCG@10 0.645 -> 0.720 (p < 0.001); hybrid 0.745 -> 0.765 (p = 0.004)"
        );
        let same = Verdict { kept_start: true, ..verdict(0.645, 0.645, 1.0) };
        assert!(same.line().ends_with("(p = 1.000); the start model is kept, nothing ranks held-out queries better"));
    }
}
