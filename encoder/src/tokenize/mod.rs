//! From text to token ids, cut to the model's length.

mod outline;
mod parts;
mod pattern;

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rayon::prelude::*;
use tokenizers::{
    DecoderWrapper, Encoding, ModelWrapper, PostProcessor, PostProcessorWrapper, TokenizerImpl, TruncationDirection,
    TruncationParams, TruncationStrategy, truncate_encodings,
};

use crate::error::EncoderError;
use crate::files::read_limited;
use crate::folder::{Adjustment, JsonFile, ModelFolder, adjust};
use crate::guard::guarded;
use crate::limits::TOKENIZER_LIMIT;
use outline::Outline;
use parts::{Changes, Splits};

/// A tokenizer as its file has it, with limits on the parts that could take all time and memory.
type Tokenizer = TokenizerImpl<ModelWrapper, Changes, Splits, PostProcessorWrapper, DecoderWrapper>;

/// A text up to this many bytes for each token that fits is tokenised in one go.
const BYTES_A_TOKEN: usize = 16;

/// However long a text is, no more than this many bytes for each token that fits are looked at, and at least a
/// megabyte. Only a text of words without end ever comes near.
const MOST_BYTES_A_TOKEN: usize = 64;

/// Fewer texts than this are tokenised by the calling thread alone.
const PARALLEL_FROM: usize = 32;

/// The tokens of one text or pair.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub(crate) ids: Vec<u32>,
    /// Segment of each token; empty where all are 0.
    pub(crate) types: Vec<u32>,
    /// How many tokens at the start belong to the prompt.
    pub(crate) prompt: usize,
}

/// A model's tokenizer, with the length texts are cut to.
pub struct TextTokenizer {
    tokenizer: Tokenizer,
    path: PathBuf,
    hash: String,
    max_length: usize,
    keeps_end: bool,
    pad_id: u32,
    threads: usize,
    pool: OnceLock<Option<rayon::ThreadPool>>,
}

impl std::fmt::Debug for TextTokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TextTokenizer")
            .field("path", &self.path)
            .field("max_length", &self.max_length)
            .finish_non_exhaustive()
    }
}

impl TextTokenizer {
    pub(crate) fn open(folder: &ModelFolder, max_length: usize, threads: usize) -> Result<Self, EncoderError> {
        let path = folder.tokenizer.clone();
        let fault = |problem: String| EncoderError::model(&path, problem);
        let bytes = read_limited(&path, TOKENIZER_LIMIT)?;
        outline::check_count(&bytes).map_err(fault)?;
        // Looked at on its own first: the tokenizer's own message for broken JSON does not say that it is that.
        let outline: Outline =
            serde_json::from_slice(&bytes).map_err(|cause| EncoderError::Json { path: path.clone(), cause })?;
        outline.check().map_err(fault)?;
        let mut tokenizer = guarded(
            || {
                pattern::within(pattern::TIME, || Tokenizer::from_bytes(&bytes))
                    .map_err(|error| fault(format!("is not a tokenizer this crate reads: {error}")))
            },
            |problem| fault(format!("is not a tokenizer this crate reads: it ends in a panic: {problem}")),
        )?;
        outline::check_model(tokenizer.get_model()).map_err(fault)?;
        // Padding is done batch by batch here.
        tokenizer.with_padding(None);

        let config = JsonFile::read_if_there(&folder.transformer.join("tokenizer_config.json"))?;
        let changed = Self::adjust(&mut tokenizer, &outline, config.as_ref(), folder.lower_case, &path)?;
        let side = match &config {
            Some(config) => config.text("truncation_side")?,
            None => None,
        };
        let side = side.or_else(|| outline.direction());
        let keeps_end = match side.map(str::to_ascii_lowercase).as_deref() {
            None | Some("right") => false,
            Some("left") => true,
            Some(other) => {
                return Err(EncoderError::key(
                    config.as_ref().map_or(path.as_path(), JsonFile::path),
                    "truncation_side",
                    format!("is \"{other}\"; it can be \"right\" or \"left\""),
                ));
            }
        };
        // Texts are cut here and not by the tokenizer: since 0.23 it stops reading each text of a pair at the length of
        // the whole pair, takes that for the text's own length, and shares the room between the two otherwise than
        // every release before. Uncut, it can also count.
        let fault_length = |error: &dyn std::fmt::Display| EncoderError::Option {
            name: "max_length",
            problem: format!("is {max_length}, which this tokenizer does not take: {error}"),
        };
        tokenizer.with_truncation(None).map_err(|error| fault_length(&error))?;
        let special = tokenizer.get_post_processor().map_or(0, |processor| processor.added_tokens(false));
        if special >= max_length {
            return Err(fault_length(&format!("it adds {special} tokens to every text")));
        }
        let pad_id = config
            .as_ref()
            .and_then(|config| config.get("pad_token"))
            .and_then(|token| token.as_str().or_else(|| token.get("content")?.as_str()))
            .and_then(|token| tokenizer.token_to_id(token))
            .unwrap_or(folder.pad_id);
        Ok(Self {
            hash: match changed {
                None => crate::fingerprint::hex_of(&bytes),
                Some(changed) => crate::fingerprint::hex_of(&[&bytes, changed.as_bytes()].concat()),
            },
            tokenizer,
            path,
            max_length,
            keeps_end,
            pad_id,
            threads,
            pool: OnceLock::new(),
        })
    }

    /// Makes the tokenizer read texts as the other files of its folder have it. Gives what overrules the tokenizer's own file.
    fn adjust(
        tokenizer: &mut Tokenizer,
        outline: &Outline,
        config: Option<&JsonFile>,
        lower_case: bool,
        path: &Path,
    ) -> Result<Option<String>, EncoderError> {
        let Adjustment { normalizer, pre_tokenizer, overruled } =
            adjust(&outline.normalizer, &outline.pre_tokenizer, config, lower_case)?;
        let fault = |problem: String| {
            EncoderError::model(
                config.map_or(path, JsonFile::path),
                format!("asks for a tokenizer that cannot be made: {problem}"),
            )
        };
        let normalizer: Option<Changes> =
            normalizer.map(serde_json::from_value).transpose().map_err(|error| fault(error.to_string()))?;
        let cuts: Option<Splits> =
            pre_tokenizer.map(serde_json::from_value).transpose().map_err(|error| fault(error.to_string()))?;
        if let Some(cuts) = cuts {
            tokenizer.with_pre_tokenizer(Some(cuts));
        }
        if let Some(normalizer) = normalizer {
            guarded(
                || {
                    pattern::within(pattern::TIME, || tokenizer.with_normalizer(Some(normalizer)).map(|_| ()))
                        .map_err(|error| fault(error.to_string()))
                },
                |problem| fault(format!("it ends in a panic: {problem}")),
            )?;
        }
        Ok(overruled)
    }

    /// Longest sequence in tokens, special tokens included; the rest of a text is cut off.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// Tokens of `text` before it is cut, special tokens included. For splitting long documents.
    ///
    /// # Errors
    /// When the tokenizer refuses the text.
    pub fn count(&self, text: &str) -> Result<usize, EncoderError> {
        Ok(self.run(self.bounded(text))?.len() + self.special_tokens(false))
    }

    /// The byte range in `text` of every token of the text's own, special tokens left out, nothing cut off. Chunks that
    /// begin and end at such a border tokenise as they did in the whole.
    ///
    /// # Errors
    /// When the tokenizer refuses the text.
    pub fn offsets(&self, text: &str) -> Result<Vec<std::ops::Range<usize>>, EncoderError> {
        let encoding = self.guarded(|| self.tokenizer.encode(text, false))?;
        Ok(encoding.get_offsets().iter().map(|&(start, end)| start..end).collect())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn hash(&self) -> &str {
        &self.hash
    }

    pub(crate) fn pad_id(&self) -> u32 {
        self.pad_id
    }

    /// Tokens of `prompt` followed by `text`.
    pub(crate) fn encode(&self, prompt: &str, prompt_tokens: usize, text: &str) -> Result<Tokens, EncoderError> {
        let whole = match prompt {
            "" => Cow::Borrowed(self.bounded(text)),
            // What no prefix of the text can add needs no copy.
            prompt => Cow::Owned([prompt, self.bounded(text)].concat()),
        };
        let encoding = self.cut(self.run(self.enough(&whole)?)?, None)?;
        Ok(tokens_of(&encoding, prompt_tokens))
    }

    /// Tokens of a pair, both cut to fit together.
    pub(crate) fn encode_pair(&self, first: &str, second: &str) -> Result<Tokens, EncoderError> {
        let (first, second) = (self.bounded(first), self.bounded(second));
        let (first, mut second) = (self.run(self.enough(first)?)?, self.run(self.enough(second)?)?);
        second.set_type_ids(vec![1; second.len()]);
        let encoding = self.cut(first, Some(second))?;
        Ok(tokens_of(&encoding, 0))
    }

    /// How many tokens a prompt takes at the start of a sequence, special tokens there included.
    pub(crate) fn prompt_tokens(&self, prompt: &str) -> Result<usize, EncoderError> {
        if prompt.is_empty() {
            return Ok(0);
        }
        let encoding = self.cut(self.run(self.bounded(prompt))?, None)?;
        let ends_special = encoding.get_special_tokens_mask().last() == Some(&1);
        Ok(encoding.len().saturating_sub(usize::from(ends_special)))
    }

    /// Applies `work` to every item, on this tokenizer's own threads where there are many. `offset` is how many items of the same
    /// call came before; where one fails, its place is told.
    pub(crate) fn for_all<I: Sync, T: Send>(
        &self,
        items: &[I],
        offset: usize,
        work: impl Fn(&I) -> Result<T, EncoderError> + Sync,
    ) -> Result<Vec<T>, EncoderError> {
        let work = |(position, item): (usize, &I)| {
            work(item).map_err(|cause| EncoderError::Text { position: offset + position, cause: Box::new(cause) })
        };
        if items.len() >= PARALLEL_FROM
            && self.threads > 1
            && let Some(pool) = self.pool()
        {
            return pool.install(|| items.par_iter().enumerate().map(&work).collect());
        }
        items.iter().enumerate().map(work).collect()
    }

    /// Threads of our own, so that a caller's rayon pool is neither needed nor blocked.
    fn pool(&self) -> Option<&rayon::ThreadPool> {
        self.pool
            .get_or_init(|| {
                rayon::ThreadPoolBuilder::new()
                    .num_threads(self.threads)
                    .thread_name(|index| format!("tokenize-{index}"))
                    .build()
                    .ok()
            })
            .as_ref()
    }

    /// All tokens of a text, without special ones.
    fn run(&self, text: &str) -> Result<Encoding, EncoderError> {
        self.guarded(|| self.tokenizer.encode_fast(text, false))
    }

    /// Lets the tokenizer work on a text. Its parts come from a file that may be anybody's, so a panic is the text's failure.
    fn guarded<T>(&self, work: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, EncoderError> {
        guarded(
            || pattern::within(pattern::TIME, work).map_err(|error| self.fault(&*error)),
            |problem| EncoderError::Panicked { path: self.path.clone(), problem },
        )
    }

    /// One text or two, cut so that they fit with the special tokens, and those put in.
    fn cut(&self, first: Encoding, second: Option<Encoding>) -> Result<Encoding, EncoderError> {
        let direction = if self.keeps_end { TruncationDirection::Left } else { TruncationDirection::Right };
        let room = TruncationParams {
            direction,
            max_length: self.max_length.saturating_sub(self.special_tokens(second.is_some())),
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
        };
        self.guarded(|| {
            let (first, second) = truncate_encodings(first, second, &room)?;
            self.tokenizer.post_process(first, second, true)
        })
    }

    /// How many tokens of its own the tokenizer puts around a text or a pair.
    fn special_tokens(&self, pair: bool) -> usize {
        self.tokenizer.get_post_processor().map_or(0, |processor| processor.added_tokens(pair))
    }

    fn fault(&self, error: &dyn std::error::Error) -> EncoderError {
        EncoderError::Tokenize { path: self.path.clone(), problem: error.to_string() }
    }

    fn most_bytes(&self) -> usize {
        (self.max_length * MOST_BYTES_A_TOKEN).max(1 << 20)
    }

    /// The part of a text that is looked at at all.
    fn bounded<'a>(&self, text: &'a str) -> &'a str {
        let most = self.most_bytes();
        if text.len() <= most {
            text
        } else if self.keeps_end {
            &text[text.ceil_char_boundary(text.len() - most)..]
        } else {
            &text[..text.floor_char_boundary(most)]
        }
    }

    /// The shortest tried beginning of a text that is sure to fill the model's length, so that a book costs no more
    /// than a page. It ends at white space, and some tokens after the last one that counts, so that those that count
    /// are the same as in the whole.
    fn enough<'a>(&self, text: &'a str) -> Result<&'a str, EncoderError> {
        let mut size = (self.max_length * BYTES_A_TOKEN).max(4096);
        if self.keeps_end {
            return Ok(text);
        }
        while size < text.len() {
            let head = &text[..text.floor_char_boundary(size)];
            let head = head.rfind(char::is_whitespace).map_or(head, |end| &head[..end]);
            if self.run(head)?.len() >= self.max_length + 16 {
                return Ok(head);
            }
            size *= 2;
        }
        Ok(text)
    }
}

fn tokens_of(encoding: &Encoding, prompt: usize) -> Tokens {
    let types = encoding.get_type_ids();
    Tokens {
        ids: encoding.get_ids().to_vec(),
        types: if types.iter().all(|kind| *kind == 0) { Vec::new() } else { types.to_vec() },
        prompt: prompt.min(encoding.len()),
    }
}
