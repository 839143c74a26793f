//! One vector for a text.

use std::ops::ControlFlow;
use std::path::Path;

use ndarray::{Array2, ArrayView2};

use crate::batch::{Padded, Plan};
use crate::error::EncoderError;
use crate::fingerprint::Fingerprint;
use crate::folder::{ModelFolder, OnnxFile, Prompts, Step};
use crate::options::EncoderOptions;
use crate::session::{Output, SessionPool, Share, Values};
use crate::text_encoder::{TextEncoder, TextKind};
use crate::tokenize::{TextTokenizer, Tokens};

/// Texts tokenised at a time are so many that their tokens stay below this number, more or less.
const WINDOW_TOKENS: usize = 4 << 20;

/// A sentence encoder from a folder in sentence-transformers layout with ONNX.
///
/// One encoder serves any number of threads; [`EncoderOptions::sessions`] says how many batches run at once.
pub struct SentenceEncoder {
    name: String,
    fingerprint: String,
    dimension: usize,
    batch_tokens: usize,
    tokenizer: TextTokenizer,
    prompts: Prompts,
    /// Tokens the query prompt and the document prompt take.
    prompt_tokens: [usize; 2],
    pool: SessionPool,
    head: Head,
}

impl std::fmt::Debug for SentenceEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SentenceEncoder")
            .field("name", &self.name)
            .field("dimension", &self.dimension)
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

/// From the model's output to the finished vector.
struct Head {
    source: Source,
    pooling: crate::folder::Pooling,
    steps: Vec<Step>,
    /// Whether the graph's own sentence vector is used in place of a pooling that nothing in the folder asks for.
    overrules_guess: bool,
}

/// Which output of the graph is used.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// `[rows, tokens, hidden]`: pooled here.
    Tokens(String),
    /// `[rows, dimension]`: the graph did all of it.
    Sentence(String),
}

impl Source {
    fn name(&self) -> &str {
        match self {
            Self::Tokens(name) | Self::Sentence(name) => name,
        }
    }
}

impl SentenceEncoder {
    /// Opens a model folder.
    ///
    /// # Errors
    /// When a file is missing, broken or too large, when the folder asks for something this crate does not do (the
    /// file and the key are named), or when ONNX Runtime is not found or refuses the model.
    pub fn open(folder: impl AsRef<Path>, options: &EncoderOptions) -> Result<Self, EncoderError> {
        options.check()?;
        let mut spec = ModelFolder::open(folder.as_ref())?;
        let max_length = spec.effective_length(options.max_length)?;
        if let Some(prompt) = &options.query_prompt {
            spec.prompts.query.clone_from(prompt);
        }
        if let Some(prompt) = &options.document_prompt {
            spec.prompts.document.clone_from(prompt);
        }
        let says_normalize = matches!(spec.steps.last(), Some(Step::Normalize));
        match options.normalize {
            Some(true) if !says_normalize => spec.steps.push(Step::Normalize),
            Some(false) if says_normalize => {
                spec.steps.pop();
            }
            _ => {}
        }
        let tokenizer = TextTokenizer::open(&spec, max_length, options.all_threads())?;
        let prompt_tokens =
            [tokenizer.prompt_tokens(&spec.prompts.query)?, tokenizer.prompt_tokens(&spec.prompts.document)?];
        let file = OnnxFile::open(&spec.transformer, options)?;
        let mut fingerprint = fingerprint(&spec, &tokenizer, &file);
        let pool = SessionPool::open(&file, options)?;
        drop(file);

        let keeps_length = options.normalize == Some(false) && says_normalize;
        let name = spec.name();
        let planned = HeadPlan {
            pooling: spec.pooling,
            guessed: spec.guesses_pooling,
            steps: spec.steps,
            must_not_normalize: keeps_length,
        };
        let (head, dimension) = Head::choose(planned, &pool, &tokenizer)?;
        if head.overrules_guess {
            // These are not the vectors of the pooling that the fingerprint names so far.
            fingerprint = fingerprint.part("pooling", "the graph's own");
        }
        Ok(Self {
            name,
            fingerprint: fingerprint.finish(),
            dimension,
            batch_tokens: options.most_tokens(),
            tokenizer,
            prompts: spec.prompts,
            prompt_tokens,
            pool,
            head,
        })
    }

    /// As [`encode`](TextEncoder::encode), and `done` hears how many texts are finished after each batch.
    ///
    /// # Errors
    /// As [`encode`](TextEncoder::encode).
    pub fn encode_with_progress(
        &self,
        texts: &[&str],
        kind: TextKind,
        done: &mut dyn FnMut(usize),
    ) -> Result<Vec<Vec<f32>>, EncoderError> {
        let mut rows = vec![0.0; texts.len() * self.dimension];
        self.encode_into(texts, kind, &mut rows, &mut |finished| {
            done(finished);
            ControlFlow::Continue(())
        })?;
        Ok(rows.chunks_exact(self.dimension).map(<[f32]>::to_vec).collect())
    }

    /// Encodes into memory of the caller: `rows` is `texts.len()` x [`dimension`](TextEncoder::dimension) values, one row for each
    /// text, in the order given. `done` hears how many texts are finished after each batch, and ends the work by a break.
    ///
    /// # Errors
    /// As [`encode`](TextEncoder::encode), and [`EncoderError::Rows`] where `rows` has another length, [`EncoderError::Stopped`]
    /// after a break. Some rows may be written then, and others not.
    pub fn encode_into(
        &self,
        texts: &[&str],
        kind: TextKind,
        rows: &mut [f32],
        done: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<(), EncoderError> {
        if Some(rows.len()) != texts.len().checked_mul(self.dimension) {
            return Err(EncoderError::Rows { values: rows.len(), texts: texts.len(), width: self.dimension });
        }
        let prompt = self.prompts.of(kind);
        let prompt_tokens = self.prompt_tokens[usize::from(kind == TextKind::Document)];
        let window = (WINDOW_TOKENS / self.tokenizer.max_length()).clamp(256, 16_384);
        let mut before = 0;
        for (texts, rows) in texts.chunks(window).zip(rows.chunks_mut(window * self.dimension)) {
            let encode = |text: &&str| self.tokenizer.encode(prompt, prompt_tokens, text);
            let tokens = self.tokenizer.for_all(texts, before, encode)?;
            let lengths: Vec<usize> = tokens.iter().map(|tokens| tokens.ids.len()).collect();
            let plan = Plan::by_length(&lengths, self.batch_tokens);
            let mut finished = before;
            for (row, _) in rows.chunks_exact_mut(self.dimension).zip(&lengths).filter(|(_, length)| **length == 0) {
                // A text without a token, which only a tokenizer without special tokens leaves, is never run: its vector is
                // zero.
                row.fill(0.0);
                finished += 1;
            }
            self.pool.for_each(
                plan.len(),
                |index, share| self.run_batch(plan.batch(index), share, &tokens),
                |index, vectors| {
                    let batch = plan.batch(index);
                    for (vector, text) in vectors.rows().into_iter().zip(batch) {
                        let row = &mut rows[text * self.dimension..][..self.dimension];
                        row.iter_mut().zip(vector).for_each(|(value, made)| *value = *made);
                    }
                    finished += batch.len();
                    done(finished)
                },
            )?;
            before += texts.len();
        }
        Ok(())
    }

    fn run_batch(&self, batch: &[usize], share: Share, tokens: &[Tokens]) -> Result<Array2<f32>, EncoderError> {
        let texts = batch.iter().map(|index| &tokens[*index]);
        let padded = Padded::new(texts.clone(), self.tokenizer.pad_id());
        let rows = self
            .pool
            .run(&padded, share, self.head.source.name(), |output| self.head.finish(self.pool.path(), output, texts))?;
        if rows.ncols() != self.dimension || rows.nrows() != batch.len() {
            return Err(EncoderError::Inference {
                path: self.pool.path().to_path_buf(),
                problem: format!(
                    "it gave {} vectors of {} values for {} texts of {}",
                    rows.nrows(),
                    rows.ncols(),
                    batch.len(),
                    self.dimension
                ),
            });
        }
        if rows.iter().any(|value| !value.is_finite()) {
            return Err(EncoderError::Inference {
                path: self.pool.path().to_path_buf(),
                problem: "a vector came out with a value that is not a finite number".to_owned(),
            });
        }
        Ok(rows)
    }

    /// Longest text in tokens, special tokens and prompt included; the rest is cut off.
    pub fn max_length(&self) -> usize {
        self.tokenizer.max_length()
    }

    /// How many tokens of a text's own fit, next to the special tokens and the prompt of this kind.
    pub fn room(&self, kind: TextKind) -> usize {
        let special = self.tokenizer.count("").unwrap_or(0);
        let prompt = self.prompt_tokens[usize::from(kind == TextKind::Document)];
        // The prompt's tokens are counted with the special ones at its start.
        self.max_length().saturating_sub(special.max(prompt + special.saturating_sub(1)))
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &TextTokenizer {
        &self.tokenizer
    }

    /// The text put before every text of this kind; empty where there is none.
    pub fn prompt(&self, kind: TextKind) -> &str {
        self.prompts.of(kind)
    }

    /// The ONNX file that runs.
    pub fn model_file(&self) -> &Path {
        self.pool.path()
    }
}

impl TextEncoder for SentenceEncoder {
    fn dimension(&self) -> usize {
        self.dimension
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn encode(&self, texts: &[&str], kind: TextKind) -> Result<Vec<Vec<f32>>, EncoderError> {
        self.encode_with_progress(texts, kind, &mut |_| {})
    }

    fn token_ranges(&self, text: &str) -> Result<Vec<std::ops::Range<usize>>, EncoderError> {
        self.tokenizer.offsets(text)
    }
}

fn fingerprint(spec: &ModelFolder, tokenizer: &TextTokenizer, file: &OnnxFile) -> Fingerprint {
    let mut print = Fingerprint::default()
        .part("kind", "sentence encoder 1")
        .part("onnx", &file.hash)
        .part("tokenizer", tokenizer.hash())
        .part("max_length", &tokenizer.max_length().to_string())
        .part("lower_case", &spec.lower_case.to_string())
        .part("pooling", &spec.pooling.describe())
        .part("query", &spec.prompts.query)
        .part("document", &spec.prompts.document);
    for step in &spec.steps {
        print = print.part("step", &step.describe());
    }
    print
}

/// What the folder and the options ask for, before the graph was looked at.
struct HeadPlan {
    pooling: crate::folder::Pooling,
    /// Whether nothing in the folder asks for that pooling.
    guessed: bool,
    steps: Vec<Step>,
    must_not_normalize: bool,
}

impl Head {
    /// Decides between the graph's own sentence vector and pooling here, by running one text through both.
    ///
    /// The folder's files decide what a vector is. The graph's own is used where it agrees with them, since it saves
    /// copying the token vectors out; where the two differ, what the files say is done here. Where they say nothing, as in the
    /// folders that optimum exports, the graph knows better than a guess.
    fn choose(planned: HeadPlan, pool: &SessionPool, tokenizer: &TextTokenizer) -> Result<(Self, usize), EncoderError> {
        let HeadPlan { pooling, guessed, steps, must_not_normalize } = planned;
        let tokens = token_output(pool).cloned();
        let sentence = sentence_output(pool).cloned();
        for output in tokens.iter().chain(&sentence) {
            pool.check_f32(output)?;
        }
        let probe = tokenizer.encode("", 0, "What is the capital of Iceland?")?;
        if probe.ids.is_empty() {
            return Err(EncoderError::model(tokenizer.path(), "makes no token of a plain English sentence"));
        }
        let padded = Padded::new(std::iter::once(&probe), tokenizer.pad_id());
        let run = |head: &Self| -> Result<Array2<f32>, EncoderError> {
            pool.run(&padded, Share::Whole, head.source.name(), |output| {
                head.finish(pool.path(), output, std::iter::once(&probe))
            })
        };
        let of_tokens = |output: Output| Self {
            source: Source::Tokens(output.name),
            pooling: pooling.clone(),
            steps: Vec::new(),
            overrules_guess: false,
        };
        match (tokens, sentence) {
            (None, None) => Err(EncoderError::model(
                pool.path(),
                format!(
                    "has no output of token vectors (last_hidden_state) or sentence vectors (sentence_embedding); it has {}{}",
                    pool.describe_outputs(),
                    if pool.output("logits").is_some() {
                        ": a cross-encoder, which re-ranks but makes no vectors"
                    } else {
                        ""
                    }
                ),
            )),
            (None, Some(sentence)) => {
                if must_not_normalize {
                    return Err(EncoderError::Option {
                        name: "normalize",
                        problem: format!(
                            "is false, but {} gives only finished vectors, already normalised",
                            pool.path().display()
                        ),
                    });
                }
                let normalize = steps.into_iter().filter(|step| matches!(step, Step::Normalize)).take(1).collect();
                let source = Source::Sentence(sentence.name);
                let head = Self { source, pooling, steps: normalize, overrules_guess: false };
                let dimension = run(&head)?.ncols();
                Ok((head, dimension))
            }
            (Some(tokens), sentence) => {
                let mut head = of_tokens(tokens);
                head.steps = steps;
                let ours = run(&head)?;
                let dimension = ours.ncols();
                // With a prompt left out of the pooling, the graph cannot know where the prompt ends.
                if let Some(sentence) = sentence
                    && head.pooling.include_prompt
                {
                    let ready = Self {
                        source: Source::Sentence(sentence.name.clone()),
                        pooling: head.pooling.clone(),
                        steps: Vec::new(),
                        overrules_guess: false,
                    };
                    if agrees(&ours, &run(&ready)?) {
                        return Ok((ready, dimension));
                    }
                    if guessed {
                        tracing::info!(
                            model = %pool.path().display(),
                            output = sentence.name,
                            "no modules.json and no 1_Pooling: taking the graph's own sentence vectors"
                        );
                        // No modules, so the steps are what the caller asked for: normalising, or nothing.
                        let ready = Self { steps: head.steps, overrules_guess: true, ..ready };
                        let dimension = run(&ready)?.ncols();
                        return Ok((ready, dimension));
                    }
                    tracing::info!(
                        model = %pool.path().display(),
                        output = sentence.name,
                        "differs from what the folder's pooling and modules give; pooling here instead"
                    );
                } else if guessed {
                    tracing::warn!(
                        model = %pool.path().display(),
                        "no modules.json and no 1_Pooling: taking the mean of the token vectors, as sentence-transformers does"
                    );
                }
                Ok((head, dimension))
            }
        }
    }

    /// Turns one output of the graph into one finished vector a row.
    fn finish<'a>(
        &self,
        path: &Path,
        output: &Values<'_>,
        texts: impl ExactSizeIterator<Item = &'a Tokens>,
    ) -> Result<Array2<f32>, EncoderError> {
        let wrong = |problem: String| EncoderError::Inference { path: path.to_path_buf(), problem };
        let rows = texts.len();
        let mut vectors = match (&self.source, output.shape.as_slice()) {
            (Source::Sentence(_), &[found, dimension]) if found == rows => {
                ArrayView2::from_shape((rows, dimension), output.values)
                    .map_err(|error| wrong(error.to_string()))?
                    .to_owned()
            }
            (Source::Tokens(_), &[found, width, hidden]) if found == rows && hidden > 0 => {
                let dimension = self.pooling.width_for(hidden);
                let mut vectors = Array2::zeros((rows, dimension));
                for ((tokens, mut vector), states) in
                    texts.zip(vectors.rows_mut()).zip(output.values.chunks_exact(width * hidden))
                {
                    let used = tokens.ids.len().min(width) * hidden;
                    if let Some(vector) = vector.as_slice_mut() {
                        self.pooling.pool(&states[..used], hidden, tokens.prompt, vector);
                    }
                }
                vectors
            }
            (source, shape) => {
                return Err(wrong(format!("output `{}` has shape {shape:?} for {rows} texts", source.name())));
            }
        };
        for step in &self.steps {
            if let Some(width) = step.inputs()
                && width != vectors.ncols()
            {
                return Err(EncoderError::model(
                    path,
                    format!("gives vectors of {} values, and the folder's next module takes {width}", vectors.ncols()),
                ));
            }
            vectors = step.apply(vectors);
        }
        Ok(vectors)
    }
}

/// The output with one vector for each token.
fn token_output(pool: &SessionPool) -> Option<&Output> {
    ["last_hidden_state", "token_embeddings"]
        .iter()
        .find_map(|name| pool.output(name))
        .or_else(|| only(pool.outputs().iter().filter(|output| output.axes == 3)))
}

/// The output with one vector for each text.
fn sentence_output(pool: &SessionPool) -> Option<&Output> {
    pool.output("sentence_embedding")
        .or_else(|| pool.output("text_embeds"))
        // A cross-encoder's scores have two axes as well.
        .or_else(|| only(pool.outputs().iter()).filter(|output| output.axes == 2 && output.name != "logits"))
}

fn only<'a>(mut outputs: impl Iterator<Item = &'a Output>) -> Option<&'a Output> {
    let first = outputs.next()?;
    outputs.next().is_none().then_some(first)
}

/// Whether two vectors are the same up to rounding.
fn agrees(ours: &Array2<f32>, theirs: &Array2<f32>) -> bool {
    let scale = ours.iter().fold(0.0f32, |most, value| most.max(value.abs())).max(1e-6);
    ours.dim() == theirs.dim() && ours.iter().zip(theirs).all(|(a, b)| (a - b).abs() <= 1e-3 * scale)
}
