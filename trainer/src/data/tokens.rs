//! Texts as token ids: made once, in parallel, and kept on disk.
//!
//! A store holds content tokens only, without `[CLS]` and `[SEP]`, cut at a cap; whoever builds model input adds the special
//! ones. Its file is a cache: it is named by what it was made from, and one that is torn, foreign or of another version is
//! made again, with a note that says why.
//!
//! # File
//! Little-endian throughout.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `ADAMTOK\0` |
//! | 4 | format version, 1 |
//! | 4 | cap on tokens per text |
//! | 32 | SHA-256 of the tokenizer's JSON, without truncation and padding |
//! | 32 | SHA-256 over the texts, each preceded by its length in bytes (8 bytes) |
//! | 8 | number of texts, n |
//! | 8 | number of tokens, m |
//! | 4 n | tokens of each text |
//! | 4 m | token ids, text after text |
//! | 32 | SHA-256 of everything before |

use crate::error::TrainError;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;
use tokenizers::Tokenizer;

const MAGIC: &[u8; 8] = b"ADAMTOK\0";
const VERSION: u32 = 1;
const HEADER: usize = 8 + 4 + 4 + 32 + 32 + 8 + 8;
const SUM: usize = 32;

/// Token ids of many texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenStore {
    /// `starts[i]..starts[i + 1]` are the tokens of text `i`.
    starts: Vec<u64>,
    ids: Vec<u32>,
}

impl Default for TokenStore {
    fn default() -> Self {
        Self { starts: vec![0], ids: Vec::new() }
    }
}

impl TokenStore {
    /// A store of given token lists.
    pub fn from_lists<'a>(lists: impl IntoIterator<Item = &'a [u32]>) -> Self {
        let mut store = Self::default();
        for list in lists {
            store.push(list);
        }
        store
    }

    fn push(&mut self, tokens: &[u32]) {
        self.ids.extend_from_slice(tokens);
        self.starts.push(self.ids.len() as u64);
    }

    /// How many texts it holds.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The content tokens of text `i`; none for a number beyond the last text.
    pub fn get(&self, i: usize) -> &[u32] {
        match (self.starts.get(i), self.starts.get(i + 1)) {
            (Some(&start), Some(&end)) => &self.ids[start as usize..end as usize],
            _ => &[],
        }
    }

    /// How many tokens text `i` has.
    pub fn length(&self, i: usize) -> usize {
        self.get(i).len()
    }

    /// All tokens together.
    pub fn total(&self) -> usize {
        self.ids.len()
    }
}

/// What a store was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenKey {
    /// Hash of the tokenizer.
    pub tokenizer: [u8; 32],
    /// Hash of the texts.
    pub texts: [u8; 32],
    /// Most tokens of a text.
    pub cap: u32,
}

impl TokenKey {
    /// The name of the file that keeps it.
    pub fn file_name(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.tokenizer);
        hash.update(self.texts);
        hash.update(self.cap.to_le_bytes());
        let name: String = hash.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect();
        format!("tokens-{name}.bin")
    }
}

/// Where a store came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Its file was there and good.
    Cached,
    /// It was made, since there was no file.
    Made,
    /// It was made again, since its file could not be used, for this reason.
    Remade(String),
}

/// Tokenises texts, or reads the file that an earlier run left in `folder`. `text(i)` gives text `i` of `count`, prompt and
/// all; `progress` hears how many are done.
///
/// # Errors
/// When the tokenizer refuses a text or the file cannot be written.
pub fn load_or_tokenize<'a>(
    folder: &Path,
    tokenizer: &Tokenizer,
    count: usize,
    text: &(dyn Fn(usize) -> Cow<'a, str> + Sync),
    cap: u32,
    progress: &mut dyn FnMut(usize),
) -> Result<(TokenStore, Origin), TrainError> {
    let tokenizer = bare(tokenizer)?;
    let key = TokenKey { tokenizer: hash_of(&tokenizer)?, texts: hash_texts(count, text), cap };
    let path = folder.join(key.file_name());
    let origin = if path.exists() {
        match read(&path, &key) {
            Ok(store) if store.len() == count => {
                progress(count);
                return Ok((store, Origin::Cached));
            }
            Ok(_) => Origin::Remade(format!("{}: it holds another number of texts", path.display())),
            Err(reason) => Origin::Remade(reason.to_string()),
        }
    } else {
        Origin::Made
    };
    if let Origin::Remade(reason) = &origin {
        tracing::warn!("token ids are made again: {reason}");
    }
    let store = tokenize_bare(&tokenizer, count, text, cap, progress)?;
    std::fs::create_dir_all(folder).map_err(|e| TrainError::io(folder, e))?;
    write(&path, &key, &store)?;
    Ok((store, origin))
}

/// Tokenises texts without keeping a file.
///
/// # Errors
/// When the tokenizer refuses a text.
pub fn tokenize<'a>(
    tokenizer: &Tokenizer,
    count: usize,
    text: &(dyn Fn(usize) -> Cow<'a, str> + Sync),
    cap: u32,
) -> Result<TokenStore, TrainError> {
    tokenize_bare(&bare(tokenizer)?, count, text, cap, &mut |_| ())
}

/// The SHA-256 of a tokenizer's JSON, without truncation and padding, which are the caller's business here.
///
/// # Errors
/// When the tokenizer cannot be written as JSON.
pub fn tokenizer_hash(tokenizer: &Tokenizer) -> Result<[u8; 32], TrainError> {
    hash_of(&bare(tokenizer)?)
}

fn bare(tokenizer: &Tokenizer) -> Result<Tokenizer, TrainError> {
    let mut tokenizer = tokenizer.clone();
    tokenizer
        .with_truncation(None)
        .map_err(|e| TrainError::internal(format!("the tokenizer does not let go of its truncation: {e}")))?;
    tokenizer.with_padding(None);
    Ok(tokenizer)
}

fn hash_of(tokenizer: &Tokenizer) -> Result<[u8; 32], TrainError> {
    let json = tokenizer
        .to_string(false)
        .map_err(|e| TrainError::internal(format!("the tokenizer cannot be written as JSON: {e}")))?;
    Ok(Sha256::digest(json.as_bytes()).into())
}

fn hash_texts<'a>(count: usize, text: &(dyn Fn(usize) -> Cow<'a, str> + Sync)) -> [u8; 32] {
    let mut hash = Sha256::new();
    for i in 0..count {
        let text = text(i);
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    hash.finalize().into()
}

fn tokenize_bare<'a>(
    tokenizer: &Tokenizer,
    count: usize,
    text: &(dyn Fn(usize) -> Cow<'a, str> + Sync),
    cap: u32,
    progress: &mut dyn FnMut(usize),
) -> Result<TokenStore, TrainError> {
    // Large enough to keep every core busy, small enough that progress is seen and memory stays bounded.
    const CHUNK: usize = 4096;
    let mut store = TokenStore::default();
    for start in (0..count).step_by(CHUNK) {
        let end = (start + CHUNK).min(count);
        let lists: Vec<Vec<u32>> = (start..end)
            .into_par_iter()
            .map(|i| {
                let text = text(i);
                let encoding = tokenizer.encode_fast(text.as_ref(), false);
                let encoding =
                    encoding.map_err(|e| TrainError::Tokenizer(format!("the tokenizer refuses text {i}: {e}")))?;
                let ids = encoding.get_ids();
                Ok(ids[..ids.len().min(cap as usize)].to_vec())
            })
            .collect::<Result<_, TrainError>>()?;
        for list in &lists {
            store.push(list);
        }
        progress(end);
    }
    Ok(store)
}

/// Writes through a hash, so that the sum at the end covers what was written.
struct Summed<W: Write> {
    inner: W,
    hash: Sha256,
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

/// Writes a store beside its final name, then moves it there, so that the name never stands for half a file.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, key: &TokenKey, store: &TokenStore) -> Result<(), TrainError> {
    durable::replace_with(path, |file| write_to(file, key, store)).map_err(|e| TrainError::io(path, e))
}

fn write_to(file: &mut BufWriter<&File>, key: &TokenKey, store: &TokenStore) -> std::io::Result<()> {
    let mut out = Summed { inner: file, hash: Sha256::new() };
    out.write_all(MAGIC)?;
    out.write_all(&VERSION.to_le_bytes())?;
    out.write_all(&key.cap.to_le_bytes())?;
    out.write_all(&key.tokenizer)?;
    out.write_all(&key.texts)?;
    out.write_all(&(store.len() as u64).to_le_bytes())?;
    out.write_all(&(store.ids.len() as u64).to_le_bytes())?;
    for window in store.starts.windows(2) {
        out.write_all(&((window[1] - window[0]) as u32).to_le_bytes())?;
    }
    for id in &store.ids {
        out.write_all(&id.to_le_bytes())?;
    }
    let Summed { inner, hash } = out;
    inner.write_all(&hash.finalize())
}

/// Reads a store that was made from exactly this.
///
/// # Errors
/// When the file is torn, damaged, of another version, or was made from something else.
pub fn read(path: &Path, key: &TokenKey) -> Result<TokenStore, TrainError> {
    let mut bytes = Vec::new();
    let mut file = File::open(path).map_err(|e| TrainError::io(path, e))?;
    file.read_to_end(&mut bytes).map_err(|e| TrainError::io(path, e))?;
    decode(&bytes, key).map_err(|reason| TrainError::data(path, reason))
}

fn decode(bytes: &[u8], key: &TokenKey) -> Result<TokenStore, String> {
    if bytes.len() < HEADER + SUM || &bytes[..8] != MAGIC {
        return Err("not a file of token ids, or one cut short".to_owned());
    }
    let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
    if word(8) != VERSION {
        return Err(format!("format version {}, and this program reads version {VERSION}", word(8)));
    }
    let (body, sum) = bytes.split_at(bytes.len() - SUM);
    let (count, total) = (long(80), long(88));
    let length = count.checked_add(total).and_then(|n| n.checked_mul(4)).and_then(|n| n.checked_add(HEADER as u64));
    if length != Some(body.len() as u64) {
        return Err("its length is not what its header says: it was cut short or overwritten".to_owned());
    }
    let expected: [u8; 32] = Sha256::digest(body).into();
    if expected != sum {
        return Err("its checksum does not fit: it is damaged".to_owned());
    }
    if word(12) != key.cap || bytes[16..48] != key.tokenizer || bytes[48..80] != key.texts {
        return Err("it was made from other texts, another tokenizer or another cap".to_owned());
    }
    let (count, total) = (count as usize, total as usize);
    let mut starts = Vec::with_capacity(count + 1);
    let mut end = 0u64;
    starts.push(end);
    for i in 0..count {
        end += u64::from(word(HEADER + 4 * i));
        starts.push(end);
    }
    if end != total as u64 {
        return Err("the lengths of its texts do not add up".to_owned());
    }
    let ids = (0..total).map(|i| word(HEADER + 4 * (count + i))).collect();
    Ok(TokenStore { starts, ids })
}

#[cfg(test)]
#[path = "tokens_tests.rs"]
mod tests;
