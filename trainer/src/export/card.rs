//! `README.md` of an exported model: what it is, what it was made from, how to use it.

use std::fmt::Write as _;

use super::folder::{FileReport, Kind};

/// What is known about where a model comes from. Everything is optional; what is not known is left out of the card.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ModelCard {
    /// Title. Default: the output folder's name.
    pub name: Option<String>,
    /// The model the training started from, as a Hugging Face id or in words.
    pub base_model: Option<String>,
    /// Licence, as an SPDX id in lower case. Default: what the source folder's README says.
    pub licence: Option<String>,
    /// A sentence or more about how the model was made.
    pub summary: Option<String>,
    /// What it was trained on, one line each.
    pub data: Vec<String>,
    /// Settings of the training: name and value.
    pub settings: Vec<(String, String)>,
    /// Results.
    pub metrics: Vec<MetricRow>,
    /// What speaks against using the model before it is looked at more closely.
    pub warnings: Vec<String>,
}

/// One result: the same measure before and after.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricRow {
    /// What was measured, and where, such as `nDCG@10, SciFact test`.
    pub name: String,
    /// The base model's value, where it was measured.
    pub before: Option<f64>,
    /// This model's value.
    pub after: f64,
}

/// What a card says about the model itself.
pub(super) struct Facts<'a> {
    pub(super) name: &'a str,
    pub(super) kind: Kind,
    pub(super) model_type: &'a str,
    pub(super) dimension: usize,
    pub(super) layers: usize,
    pub(super) parameters: usize,
    pub(super) max_length: usize,
    pub(super) pooling: &'a str,
    pub(super) normalised: bool,
    pub(super) similarity: &'a str,
    pub(super) query_prompt: &'a str,
    pub(super) document_prompt: &'a str,
    pub(super) files: &'a [FileReport],
}

impl ModelCard {
    pub(super) fn write(&self, facts: &Facts<'_>) -> String {
        let mut text = String::new();
        self.front_matter(&mut text, facts);
        let kind = match facts.kind {
            Kind::Sentence => format!(
                "A sentence encoder: it turns a text into a vector of {} values, for semantic search.",
                facts.dimension
            ),
            Kind::Pair => "A cross-encoder: it gives a query and a passage one score, for re-ranking.".to_owned(),
        };
        let _ = writeln!(text, "\n# {}\n\n{kind}", facts.name);
        if let Some(summary) = &self.summary {
            let _ = writeln!(text, "\n{summary}");
        }
        for warning in &self.warnings {
            let _ = writeln!(text, "\n**Warning:** {warning}");
        }
        text.push_str("\n| | |\n|---|---|\n");
        if let Some(base) = &self.base_model {
            let _ = writeln!(text, "| base model | {base} |");
        }
        let _ = writeln!(
            text,
            "| architecture | {}, {} layers, {:.1} million parameters |",
            facts.model_type,
            facts.layers,
            facts.parameters as f64 / 1e6
        );
        let _ = writeln!(text, "| longest text | {} tokens |", facts.max_length);
        let _ = writeln!(text, "| pooling | {} |", facts.pooling);
        if facts.kind == Kind::Sentence {
            let scaled = if facts.normalised { "scaled to length 1" } else { "not scaled" };
            let _ =
                writeln!(text, "| vectors | {} values, {scaled}, compared by {} |", facts.dimension, facts.similarity);
            let prompt = |prompt: &str| if prompt.is_empty() { "none".to_owned() } else { format!("`{prompt}`") };
            let _ = writeln!(
                text,
                "| prompts | query: {}, document: {} |",
                prompt(facts.query_prompt),
                prompt(facts.document_prompt)
            );
        }
        if let Some(licence) = &self.licence {
            let _ = writeln!(text, "| licence | {licence} |");
        }
        self.results(&mut text);
        usage(&mut text, facts);
        self.training(&mut text);
        files(&mut text, facts.files);
        text
    }

    fn front_matter(&self, text: &mut String, facts: &Facts<'_>) {
        let (task, extra) = match facts.kind {
            Kind::Sentence => ("sentence-similarity", "feature-extraction"),
            Kind::Pair => ("text-ranking", "cross-encoder"),
        };
        let _ = writeln!(text, "---\nlibrary_name: sentence-transformers\npipeline_tag: {task}");
        let _ = writeln!(text, "tags:\n- sentence-transformers\n- {extra}\n- {task}\n- onnx");
        // Only ids of one word: a front matter that does not parse would hide the whole card.
        if let Some(licence) = self.licence.as_deref().filter(|licence| is_plain(licence)) {
            let _ = writeln!(text, "license: {licence}");
        }
        if let Some(base) = self.base_model.as_deref().filter(|base| is_plain(base)) {
            let _ = writeln!(text, "base_model: {base}");
        }
        text.push_str("---\n");
    }

    fn results(&self, text: &mut String) {
        if !self.metrics.is_empty() {
            text.push_str(&results(&self.metrics));
        }
    }

    fn training(&self, text: &mut String) {
        if self.data.is_empty() && self.settings.is_empty() {
            return;
        }
        text.push_str("\n## Training\n");
        if !self.data.is_empty() {
            text.push_str("\nData:\n\n");
            for line in &self.data {
                let _ = writeln!(text, "- {line}");
            }
        }
        if !self.settings.is_empty() {
            text.push_str("\n| setting | value |\n|---|---|\n");
            for (name, value) in &self.settings {
                let _ = writeln!(text, "| {name} | {} |", value.replace('|', "\\|").replace('\n', " "));
            }
        }
    }
}

/// Heading of the results, and of what follows them.
const RESULTS: &str = "\n## Results\n";
const USE: &str = "\n## Use\n";

fn results(rows: &[MetricRow]) -> String {
    let mut text = format!("{RESULTS}\n| measure | base model | this model |\n|---|---|---|\n");
    for row in rows {
        let before = row.before.map_or_else(|| "not measured".to_owned(), |value| format!("{value:.4}"));
        let _ = writeln!(text, "| {} | {before} | {:.4} |", row.name, row.after);
    }
    text
}

/// A card with its results replaced by these; `None` where the text is no card of ours.
pub(super) fn with_results(card: &str, rows: &[MetricRow]) -> Option<String> {
    let rest = card.find(USE)?;
    let start = card[..rest].find(RESULTS).unwrap_or(rest);
    Some(format!("{}{}{}", &card[..start], results(rows), &card[rest..]))
}

/// Letters, digits and the few signs of an id.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'))
}

fn usage(text: &mut String, facts: &Facts<'_>) {
    text.push_str(USE);
    text.push_str("\nIn each line `MODEL` stands for this folder.\n");
    match facts.kind {
        Kind::Sentence => {
            text.push_str(
                r#"
```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("MODEL")                  # or with backend="onnx"
queries = model.encode(["do crows use tools"], prompt_name="query")
documents = model.encode(["Crows bend wire into hooks."], prompt_name="document")
```

```
adam index --model MODEL --data DATA --index DIR
text-embeddings-router --model-id MODEL
```
"#,
            );
        }
        Kind::Pair => {
            text.push_str(
                "\n`onnx/model.onnx` takes the token ids of a query and a passage, joined as the tokenizer joins a pair, \
                 and gives `logits`, one a pair: higher is more relevant.\n",
            );
        }
    }
}

fn files(text: &mut String, files: &[FileReport]) {
    text.push_str(
        "\n## Files\n\n| file | operators | numbers | against the trainer's own forward pass |\n|---|---|---|---|\n",
    );
    for file in files {
        let parity = file.parity.as_ref().map_or_else(|| "not compared".to_owned(), ToString::to_string);
        let _ = writeln!(text, "| `{}` | {} | {} | {parity} |", file.name, file.operators, file.numbers);
    }
    text.push_str(
        "\nInt8 activations are scaled per batch, so an int8 vector depends a little on the texts that share its batch.\n\
         `adam_export.json` has the hashes and the full report.\n",
    );
}

/// The licence a model card's front matter names.
pub(super) fn licence_of(readme: &str) -> Option<String> {
    let body = readme.strip_prefix("---")?;
    let front = &body[..body.find("\n---")?];
    front
        .lines()
        .find_map(|line| line.strip_prefix("license:"))
        .map(|value| value.trim().trim_matches(['"', '\'']).to_owned())
        .filter(|value| is_plain(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_licence_comes_from_the_front_matter_only() {
        assert_eq!(licence_of("---\nlicense: apache-2.0\ntags:\n- x\n---\n# Title\n").as_deref(), Some("apache-2.0"));
        assert_eq!(licence_of("# Title\nlicense: mit\n"), None);
        assert_eq!(licence_of("---\ntags: []\n---\nlicense: mit\n"), None);
        assert_eq!(licence_of("---\nlicense: a: b\n---\n"), None);
    }

    #[test]
    fn a_card_tells_what_is_known_and_nothing_else() {
        let facts = Facts {
            name: "small",
            kind: Kind::Sentence,
            model_type: "bert",
            dimension: 32,
            layers: 2,
            parameters: 1_500_000,
            max_length: 64,
            pooling: "mean",
            normalised: true,
            similarity: "cosine",
            query_prompt: "query: ",
            document_prompt: "",
            files: &[],
        };
        let bare = ModelCard::default().write(&facts);
        assert!(bare.contains("# small") && bare.contains("`query: `, document: none"), "{bare}");
        assert!(!bare.contains("license:") && !bare.contains("## Results") && !bare.contains("## Training"), "{bare}");
        let full = ModelCard {
            licence: Some("mit".to_owned()),
            base_model: Some("no id: words".to_owned()),
            metrics: vec![MetricRow { name: "nDCG@10".to_owned(), before: Some(0.5), after: 0.625 }],
            settings: vec![("mix".to_owned(), "a|b".to_owned())],
            warnings: vec!["the teacher ranks no better".to_owned()],
            ..ModelCard::default()
        };
        let full = full.write(&facts);
        assert!(full.contains("license: mit") && full.contains("| nDCG@10 | 0.5000 | 0.6250 |"), "{full}");
        assert!(!full.contains("base_model:") && full.contains("| base model | no id: words |"), "{full}");
        assert!(full.contains("a\\|b") && full.contains("**Warning:** the teacher ranks no better"), "{full}");
        // Results that come later take the place of earlier ones.
        let later = [MetricRow { name: "MRR@10".to_owned(), before: None, after: 0.75 }];
        let changed = with_results(&full, &later).unwrap();
        assert!(changed.contains("| MRR@10 | not measured | 0.7500 |") && !changed.contains("nDCG@10"), "{changed}");
        assert_eq!(changed.matches("## Results").count(), 1);
        let added = with_results(&bare, &later).unwrap();
        assert_eq!(with_results(&added, &later).unwrap(), added);
        assert_eq!(with_results("# Another card\n", &later), None);
    }
}
