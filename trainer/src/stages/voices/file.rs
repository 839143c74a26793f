//! Scores from a file as a voice: whoever scored the pairs, and however long it took.

use crate::data::files::{Flow, for_each_row};
use crate::data::{DataConfig, TrainQuery, TrainingData};
use crate::error::TrainError;
use std::collections::HashMap;
use std::path::Path;

/// Scores by the numbers of query (training ones first, then held-out ones) and passage.
pub(crate) type PairScores = HashMap<(usize, u32), f32>;

/// Reads rows `{"query", "passage", "score"}` with ids. Rows of queries and passages that the data does not have are passed over and
/// counted.
///
/// # Errors
/// When the file cannot be read, or a row lacks a field, repeats a pair with another score or holds one that is no finite number: with
/// its line.
pub(crate) fn read(path: &Path, data: &TrainingData, config: &DataConfig) -> Result<(PairScores, u64), TrainError> {
    let queries: HashMap<&str, usize> = data.all_queries().enumerate().map(|(at, q)| (q.id.as_str(), at)).collect();
    let passages: HashMap<&str, u32> =
        data.passages.ids.iter().enumerate().map(|(at, id)| (id.as_str(), at as u32)).collect();
    if !path.exists() {
        return Err(TrainError::data(path, "there is no such file (`path` of the voice `scores`)"));
    }
    let (mut scores, mut unknown) = (PairScores::new(), 0);
    for_each_row(path, &config.limits(), &mut |file, line, row| {
        let wrong = |problem: String| TrainError::row(file, line, problem);
        let row = row.map_err(&wrong)?;
        let id = |names: &[&str]| -> Result<String, TrainError> {
            let found = row.id(names).map_err(&wrong)?;
            found.ok_or_else(|| wrong(format!("has no `{}`; its fields are: {}", names[0], row.names())))
        };
        let query = id(&["query", "query_id", "query-id", "qid"])?;
        let passage = id(&["passage", "passage_id", "document", "document_id", "corpus-id", "docid", "pid"])?;
        let score = row.number(&["score", "logit"]).map_err(&wrong)?;
        let score = score.ok_or_else(|| wrong("has no `score`".to_owned()))?;
        match (queries.get(query.as_str()), passages.get(passage.as_str())) {
            (Some(&query_at), Some(&passage_at)) => {
                let known = scores.insert((query_at, passage_at), score);
                if known.is_some_and(|known| known != score) {
                    return Err(wrong(format!(
                        "the pair of query `{query}` and passage `{passage}` has two different scores"
                    )));
                }
            }
            _ => unknown += 1,
        }
        Ok(Flow::Next)
    })?;
    Ok((scores, unknown))
}

/// The scores that the training rows carry.
///
/// # Errors
/// When a query has none: with its id.
pub(crate) fn of_rows(data: &TrainingData) -> Result<PairScores, TrainError> {
    let mut scores = PairScores::new();
    for (at, query) in data.all_queries().enumerate() {
        let carried = query.scores.as_ref().ok_or_else(|| TrainError::Voice {
            voice: "rows".to_owned(),
            problem: format!(
                "the query `{}` has a passage without a score; give every passage of its rows one, or leave the voice out",
                query.id
            ),
        })?;
        let TrainQuery { positives, negatives, .. } = query;
        scores.extend(positives.iter().chain(negatives).zip(carried).map(|(&passage, &score)| ((at, passage), score)));
    }
    Ok(scores)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Passages, load};

    fn data() -> TrainingData {
        let query = |id: &str, scores: Option<Vec<f32>>| TrainQuery {
            id: id.to_owned(),
            text: id.to_owned(),
            positives: vec![0],
            negatives: vec![1],
            scores,
            ..TrainQuery::default()
        };
        TrainingData {
            passages: Passages {
                ids: vec!["a".into(), "b".into()],
                titles: vec![String::new(); 2],
                texts: vec!["x".into(), "y".into()],
            },
            queries: vec![query("1", Some(vec![0.5, 0.25]))],
            dev: vec![query("2", None)],
            ..TrainingData::default()
        }
    }

    fn of_text(text: &str) -> Result<(PairScores, u64), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores.jsonl");
        std::fs::write(&path, text).unwrap();
        read(&path, &data(), &DataConfig::default()).map_err(|e| e.to_string())
    }

    #[test]
    fn pairs_are_read_by_their_ids() {
        let (scores, unknown) = of_text(
            "{\"query\": 1, \"passage\": \"b\", \"score\": 2.5}\n{\"qid\": \"2\", \"docid\": \"a\", \"score\": -1}\n\
             {\"query\": \"9\", \"passage\": \"a\", \"score\": 1}\n",
        )
        .unwrap();
        assert_eq!(scores, PairScores::from([((0, 1), 2.5), ((1, 0), -1.0)]));
        assert_eq!(unknown, 1);
    }

    #[test]
    fn a_wrong_row_is_named_by_its_line() {
        let good = "{\"query\": \"1\", \"passage\": \"b\", \"score\": 2.5}\n";
        for (row, said) in [
            ("{\"query\": \"1\", \"passage\": \"a\", \"score\": NaN}", "finite"),
            ("{\"query\": \"1\", \"passage\": \"a\"}", "no `score`"),
            ("{\"query\": \"1\", \"score\": 1}", "no `passage`"),
            ("{\"query\": \"1\", \"passage\": \"b\", \"score\": 3}", "two different scores"),
        ] {
            let error = of_text(&format!("{good}{row}\n")).unwrap_err();
            assert!(error.contains("line 2") && error.contains(said), "{error}");
        }
    }

    #[test]
    fn rows_carry_scores_or_are_named() {
        let error = of_rows(&data()).unwrap_err().to_string();
        assert!(error.contains("`2` has a passage without a score"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        std::fs::write(
            &path,
            "{\"query\": \"why\", \"pos\": [\"a\"], \"neg\": [\"b\", \"c\"], \"pos_scores\": [3], \"neg_scores\": [1, 2]}\n",
        )
        .unwrap();
        let data = load(&DataConfig { path, ..DataConfig::default() }).unwrap();
        let scores = of_rows(&data).unwrap();
        assert_eq!(scores, PairScores::from([((0, 0), 3.0), ((0, 1), 1.0), ((0, 2), 2.0)]));
    }
}
