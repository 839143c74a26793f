//! The figures of merit, by trec_eval's definitions.

use std::fmt;
use std::str::FromStr;

use crate::error::BeirError;

/// A figure of merit over the first k documents. As text: `ndcg@10`, `mrr@10`, `recall@100`, `map@100`,
/// `precision@10`.
///
/// A document counts as relevant from grade 1 up; a document that was not judged is not relevant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Metric {
    /// Normalised discounted cumulative gain: linear gain (the grade), discount log2(rank + 1), the ideal taken over all
    /// judged documents. trec_eval's `ndcg_cut`.
    Ndcg(usize),
    /// Reciprocal rank of the first relevant document, 0 where there is none among the first k. trec_eval's
    /// `recip_rank` over a run cut at k.
    Mrr(usize),
    /// Share of the relevant documents found. trec_eval's `recall`.
    Recall(usize),
    /// Average precision, divided by the number of all relevant documents. trec_eval's `map_cut`.
    Map(usize),
    /// Share of relevant documents among the first k, divided by k even where fewer were found. trec_eval's `P`.
    Precision(usize),
}

/// The largest k accepted from text.
const MAX_CUT: usize = 1_000_000;

impl Metric {
    /// The k of the metric: how many documents it looks at.
    pub fn cut(self) -> usize {
        match self {
            Self::Ndcg(k) | Self::Mrr(k) | Self::Recall(k) | Self::Map(k) | Self::Precision(k) => k,
        }
    }

    /// The value for one query.
    ///
    /// `ranked`: the grades of the documents found, best first, 0 where not judged. `judged`: all grades of the query,
    /// in any order.
    pub fn value(self, ranked: &[i32], judged: &[i32]) -> f64 {
        let relevant = judged.iter().filter(|&&grade| grade > 0).count();
        let first = &ranked[..ranked.len().min(self.cut())];
        if relevant == 0 || self.cut() == 0 {
            return 0.0;
        }
        match self {
            Self::Ndcg(k) => {
                let mut ideal: Vec<i32> = judged.to_vec();
                ideal.sort_unstable_by(|a, b| b.cmp(a));
                ideal.truncate(k);
                gain(first) / gain(&ideal)
            }
            Self::Mrr(_) => first.iter().position(|&grade| grade > 0).map_or(0.0, |at| 1.0 / (at + 1) as f64),
            Self::Recall(_) => hits(first) as f64 / relevant as f64,
            Self::Precision(k) => hits(first) as f64 / k as f64,
            Self::Map(_) => {
                let mut found = 0usize;
                let mut sum = 0.0;
                for (at, &grade) in first.iter().enumerate() {
                    if grade > 0 {
                        found += 1;
                        sum += found as f64 / (at + 1) as f64;
                    }
                }
                sum / relevant as f64
            }
        }
    }
}

fn hits(grades: &[i32]) -> usize {
    grades.iter().filter(|&&grade| grade > 0).count()
}

fn gain(grades: &[i32]) -> f64 {
    grades
        .iter()
        .enumerate()
        .filter(|&(_, &grade)| grade > 0)
        .map(|(at, &grade)| f64::from(grade) / ((at + 2) as f64).log2())
        // Not `sum`, which is -0 where there is nothing.
        .fold(0.0, |sum, gain| sum + gain)
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Ndcg(_) => "ndcg",
            Self::Mrr(_) => "mrr",
            Self::Recall(_) => "recall",
            Self::Map(_) => "map",
            Self::Precision(_) => "precision",
        };
        write!(f, "{name}@{}", self.cut())
    }
}

impl FromStr for Metric {
    type Err = BeirError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || BeirError::Metric { text: text.to_owned() };
        let (name, cut) = text.split_once('@').ok_or_else(refuse)?;
        let cut = match cut.parse() {
            Ok(cut) if (1..=MAX_CUT).contains(&cut) => cut,
            _ => return Err(refuse()),
        };
        match name.to_ascii_lowercase().as_str() {
            "ndcg" => Ok(Self::Ndcg(cut)),
            "mrr" => Ok(Self::Mrr(cut)),
            "recall" => Ok(Self::Recall(cut)),
            "map" => Ok(Self::Map(cut)),
            "precision" | "p" => Ok(Self::Precision(cut)),
            _ => Err(refuse()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for metric in [Metric::Ndcg(10), Metric::Mrr(10), Metric::Recall(100), Metric::Map(100), Metric::Precision(5)] {
            assert_eq!(metric.to_string().parse::<Metric>().unwrap(), metric);
        }
        for text in ["ndcg", "ndcg@0", "ndcg@ten", "gain@10", "ndcg@10@10", "ndcg@99999999", "@", ""] {
            assert!(text.parse::<Metric>().is_err(), "{text}");
        }
    }

    #[test]
    fn values_by_hand() {
        let ranked = [0, 2, 0, 1];
        let judged = [1, 2, 3, 0, -2];
        assert_eq!(Metric::Mrr(10).value(&ranked, &judged), 0.5);
        assert_eq!(Metric::Mrr(1).value(&ranked, &judged), 0.0);
        assert_eq!(Metric::Recall(2).value(&ranked, &judged), 1.0 / 3.0);
        assert_eq!(Metric::Precision(10).value(&ranked, &judged), 0.2);
        assert_eq!(Metric::Map(4).value(&ranked, &judged), (0.5 + 0.5) / 3.0);
        let expected = (2.0 / 3f64.log2() + 1.0 / 5f64.log2()) / (3.0 + 2.0 / 3f64.log2() + 1.0 / 2.0);
        assert!((Metric::Ndcg(10).value(&ranked, &judged) - expected).abs() < 1e-15);
    }
}
