//! Evaluation while training: held-out queries over their positives and best mined candidates.

use super::context::{Context, Texts};
use super::inputs::StudentInputs;
use crate::adam::candidates::Candidate;
use crate::data::batches::BatchLimits;
use crate::error::TrainError;
use crate::model::{CrossEncoder, Sequence, Student};
use beir_eval::significance::{CompareOptions, compare_evaluations};
use beir_eval::{EvalOptions, Evaluation, Metric, Qrels, Run, evaluate};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tch::Kind;

/// Held-out queries and the passages each is judged on.
pub(crate) struct DevSet {
    /// Numbers among all queries, training ones first.
    queries: Vec<usize>,
    /// Passages of each query.
    lists: Vec<Vec<u32>>,
    /// How many of each list are positives; they come first.
    positives: Vec<usize>,
    qrels: Qrels,
}

fn in_f64(scores: &[Vec<f32>]) -> Vec<Vec<f64>> {
    scores.iter().map(|list| list.iter().map(|&score| f64::from(score)).collect()).collect()
}

impl DevSet {
    /// None where nothing was held out.
    pub(crate) fn of(context: &Context<'_>, pools: &[Vec<Candidate>]) -> Option<Self> {
        let train = context.data.queries.len();
        let count = context.data.dev.len().min(context.config.dev.max_queries);
        if count == 0 {
            return None;
        }
        let mut judgements = Vec::new();
        let mut lists = Vec::with_capacity(count);
        for (place, query) in context.data.dev.iter().take(count).enumerate() {
            let mined = pools[train + place].iter().map(|c| c.passage).take(context.config.dev.candidates);
            let mut list = query.positives.clone();
            list.extend(mined.filter(|p| !query.positives.contains(p)));
            judgements.extend(query.positives.iter().map(|p| (place.to_string(), p.to_string(), 1)));
            lists.push(list);
        }
        let positives = context.data.dev.iter().take(count).map(|query| query.positives.len()).collect();
        let qrels = Qrels::from_judgements(judgements);
        Some(Self { queries: (train..train + count).collect(), lists, positives, qrels })
    }

    fn judge(&self, scores: Vec<Vec<f64>>) -> Evaluation {
        let mut run = Run::new();
        for (place, scores) in scores.into_iter().enumerate() {
            let hits = self.lists[place].iter().zip(scores).map(|(p, score)| (p.to_string(), score)).collect();
            run.insert(place.to_string(), hits);
        }
        evaluate(&self.qrels, &run, &[Metric::Ndcg(10)], &EvalOptions::default())
    }

    /// Every held-out query by its number, with the passages it is judged on: its positives first.
    pub(crate) fn lists(&self) -> impl Iterator<Item = (usize, &[u32])> + '_ {
        self.queries.iter().copied().zip(self.lists.iter().map(Vec::as_slice))
    }

    /// The positives of every held-out query.
    pub(crate) fn positives(&self) -> impl Iterator<Item = &[u32]> + '_ {
        self.lists.iter().zip(&self.positives).map(|(list, &count)| &list[..count])
    }

    /// nDCG@10 of scores, list by list.
    pub(crate) fn ndcg(&self, scores: &[Vec<f32>]) -> f64 {
        self.judge(in_f64(scores)).mean(Metric::Ndcg(10))
    }

    /// A teacher's scores of [`lists`](Self::lists) beside a student's similarities.
    pub(crate) fn compare(
        &self,
        scores: &[Vec<f32>],
        student: &Student,
        inputs: &StudentInputs<'_>,
        limits: &BatchLimits,
    ) -> Result<HeldOut, TrainError> {
        let teacher = self.judge(in_f64(scores));
        let student = self.judge(self.similarities(student, inputs, limits)?);
        let metric = Metric::Ndcg(10);
        let compared = compare_evaluations(&teacher, &student, metric, &CompareOptions::default());
        Ok(HeldOut {
            queries: self.queries.len(),
            teacher: teacher.mean(metric),
            student: student.mean(metric),
            p_value: compared.map_err(|e| TrainError::internal(e.to_string()))?.p_value,
            voices: Vec::new(),
            temperature: None,
        })
    }

    /// nDCG@10 of a student.
    pub(crate) fn student(
        &self,
        student: &Student,
        inputs: &StudentInputs<'_>,
        limits: &BatchLimits,
    ) -> Result<f64, TrainError> {
        Ok(self.judge(self.similarities(student, inputs, limits)?).mean(Metric::Ndcg(10)))
    }

    /// What training has changed: the same queries by the student before and after it.
    pub(crate) fn change(
        &self,
        before: &Student,
        after: &Student,
        inputs: &StudentInputs<'_>,
        limits: &BatchLimits,
    ) -> Result<HeldOutChange, TrainError> {
        let before = self.judge(self.similarities(before, inputs, limits)?);
        let after = self.judge(self.similarities(after, inputs, limits)?);
        let metric = Metric::Ndcg(10);
        let compared = compare_evaluations(&after, &before, metric, &CompareOptions::default());
        Ok(HeldOutChange {
            queries: self.queries.len(),
            before: before.mean(metric),
            after: after.mean(metric),
            p_value: compared.map_err(|e| TrainError::internal(e.to_string()))?.p_value,
        })
    }

    fn similarities(
        &self,
        student: &Student,
        inputs: &StudentInputs<'_>,
        limits: &BatchLimits,
    ) -> Result<Vec<Vec<f64>>, TrainError> {
        // Passages that several queries share are encoded once.
        let mut rows: BTreeMap<u32, i64> = BTreeMap::new();
        for &passage in self.lists.iter().flatten() {
            rows.insert(passage, 0);
        }
        let mut sequences = Vec::with_capacity(rows.len());
        for (row, (&passage, place)) in rows.iter_mut().enumerate() {
            *place = row as i64;
            sequences.push(inputs.passage(inputs.texts.passages.get(passage as usize)));
        }
        let passages = student.embed_all(&sequences, limits, &mut |_| ())?;
        let queries: Vec<Sequence<'_>> = self.queries.iter().map(|&q| inputs.query(q)).collect();
        let loose = BatchLimits { max_padding: 0.5, ..*limits };
        let queries = student.embed_all(&queries, &loose, &mut |_| ())?;
        let similarities = queries.f_matmul(&passages.f_transpose(0, 1)?)?.f_to_kind(Kind::Double)?;
        let similarities: Vec<Vec<f64>> = Vec::try_from(similarities.f_to_device(tch::Device::Cpu)?)?;
        let of_list = |(list, row): (&Vec<u32>, Vec<f64>)| list.iter().map(|p| row[rows[p] as usize]).collect();
        Ok(self.lists.iter().zip(similarities).map(of_list).collect())
    }

    /// nDCG@10 of a teacher.
    pub(crate) fn teacher(
        &self,
        teacher: &CrossEncoder,
        texts: &Texts,
        query_length: usize,
        length: usize,
        limits: &BatchLimits,
    ) -> Result<f64, TrainError> {
        let mut sequences = Vec::new();
        for (list, &query) in self.lists.iter().zip(&self.queries) {
            for &passage in list {
                let (query, passage) = (texts.queries.get(query), texts.passages.get(passage as usize));
                sequences.push(texts.tokens.pair(query, passage, query_length, length));
            }
        }
        let mut scores = teacher.score_all(&sequences, limits, &mut |_| ())?.into_iter().map(f64::from);
        let scores = self.lists.iter().map(|list| scores.by_ref().take(list.len()).collect()).collect();
        Ok(self.judge(scores).mean(Metric::Ndcg(10)))
    }
}

/// How teacher and student rank what was held out, before the one learns from the other: nDCG@10 over each query's positives and
/// best mined candidates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldOut {
    /// Held-out queries.
    pub queries: usize,
    /// The teacher's nDCG@10.
    pub teacher: f64,
    /// The student's.
    pub student: f64,
    /// Of the difference, by a paired randomisation test.
    pub p_value: f64,
    /// Each voice of the teacher, where it has several.
    #[serde(default)]
    pub voices: Vec<VoiceRank>,
    /// What the fused z-scores are divided by.
    #[serde(default)]
    pub temperature: Option<f64>,
}

/// How one voice of the teacher ranks what was held out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VoiceRank {
    /// The voice.
    pub name: String,
    /// Its nDCG@10.
    pub ndcg: f64,
    /// Its weight in the fusion.
    pub weight: f64,
}

impl HeldOut {
    /// A line, or a table where the teacher has several voices; and a warning where there is little to learn.
    pub fn to_text(&self) -> String {
        let Self { queries, teacher, student, p_value, voices, temperature } = self;
        let mut text = String::new();
        if !voices.is_empty() {
            let width = voices.iter().map(|voice| voice.name.chars().count()).max().unwrap_or(0).max(16);
            text.push_str(&format!("{:<width$}  nDCG@10  weight\n", "held out"));
            for VoiceRank { name, ndcg, weight } in voices {
                text.push_str(&format!("{name:<width$}  {ndcg:.4}   {weight:.2}\n"));
            }
            let divided = temperature.map(|t| format!("temperature {t}")).unwrap_or_default();
            text.push_str(&format!("{:<width$}  {teacher:.4}   {divided}\n", "teacher (fused)"));
            text.push_str(&format!("{:<width$}  {student:.4}\n", "its student"));
        }
        text.push_str(&format!(
            "held out: nDCG@10 of the teacher {teacher:.4}, of its student {student:.4} ({queries} queries, {})",
            written(*p_value)
        ));
        match self.warning() {
            None => text,
            Some(warning) => format!("{text}\nwarning: {warning}"),
        }
    }

    /// What is wrong where there is little to learn.
    pub(crate) fn warning(&self) -> Option<String> {
        (self.teacher <= self.student).then(|| {
            "the teacher ranks no better than the student that is to learn from it; distillation may do harm. \
             Give a better one (another teacher.model, more teacher.training.epochs where it is trained here, [[teacher.voices]]), or \
             lower loss.distillation"
                .to_owned()
        })
    }
}

/// A p-value as it is said.
pub(crate) fn written(p_value: f64) -> String {
    if p_value < 0.001 { "p < 0.001".to_owned() } else { format!("p = {p_value:.3}") }
}

/// How a student ranks what was held out, before and after distillation: nDCG@10 over each query's positives and best mined candidates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HeldOutChange {
    /// Held-out queries.
    pub(crate) queries: usize,
    /// nDCG@10 of the student before.
    pub(crate) before: f64,
    /// After.
    pub(crate) after: f64,
    /// Of the difference, by a paired randomisation test.
    pub(crate) p_value: f64,
}

impl HeldOutChange {
    /// One line.
    pub(crate) fn to_text(&self) -> String {
        let Self { queries, before, after, p_value } = self;
        let p = written(*p_value);
        format!("held out: nDCG@10 {before:.4} -> {after:.4} over mined candidates ({queries} queries, {p})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_training_has_changed_is_one_line() {
        let change = HeldOutChange { queries: 12, before: 0.4382, after: 0.4548, p_value: 0.3121 };
        assert_eq!(
            change.to_text(),
            "held out: nDCG@10 0.4382 -> 0.4548 over mined candidates (12 queries, p = 0.312)"
        );
    }

    #[test]
    fn a_teacher_that_is_no_better_than_its_student_is_warned_of() {
        let of = |teacher, student| {
            HeldOut { queries: 60, teacher, student, p_value: 0.027, voices: Vec::new(), temperature: None }.to_text()
        };
        assert_eq!(
            of(0.8, 0.7),
            "held out: nDCG@10 of the teacher 0.8000, of its student 0.7000 (60 queries, p = 0.027)"
        );
        assert!(of(0.631, 0.736).contains("warning: the teacher ranks no better"));
    }
}
