//! The teacher's raw logits, kept on disk: a pair is scored once, whatever happens to the process.
//!
//! The file only grows. Each record carries its own checksum, so a process that is killed while writing costs at most the
//! records it had not flushed: the torn end is cut off at the next opening, with a note. Logits are stored as the model gives
//! them; a temperature or a sigmoid is applied by whoever reads them.
//!
//! # File
//! Little-endian. 16 bytes of header: `ADAMSCOR`, format version (4 bytes, 1), CRC-32 of those 12 bytes. Then records of 24
//! bytes: a key (16 bytes), the logit (4 bytes, f32), CRC-32 of those 20 bytes. A key is the first half of the SHA-256 over the
//! teacher's fingerprint, the query and the passage, each preceded by a byte for its sort and its length (8 bytes); one file
//! can serve several teachers.

use crate::error::TrainError;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"ADAMSCOR";
const VERSION: u32 = 1;
const HEADER: usize = 16;
const RECORD: usize = 24;

/// What a score is the score of.
pub type ScoreKey = [u8; 16];

/// The score file of a run.
#[derive(Debug)]
pub struct ScoreCache {
    path: PathBuf,
    teacher: String,
    file: BufWriter<File>,
    scores: HashMap<ScoreKey, f32>,
    notes: Vec<String>,
}

impl ScoreCache {
    /// Opens the file of scores or begins one. `teacher` is the teacher's fingerprint.
    ///
    /// # Errors
    /// When the file belongs to another program or version, another process has it open, or it cannot be read.
    pub fn open(path: &Path, teacher: &str) -> Result<Self, TrainError> {
        let io = |e| TrainError::io(path, e);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(io)?;
        }
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => (),
            Err(TryLockError::WouldBlock) => {
                return Err(TrainError::data(
                    path,
                    "another process is scoring into this file; wait for it or stop it",
                ));
            }
            // A file system without locks: two writers there are the user's own doing.
            Err(TryLockError::Error(_)) => (),
        }
        let length = file.metadata().map_err(io)?.len();
        let mut notes = Vec::new();
        let mut scores = HashMap::new();
        if length < HEADER as u64 {
            let mut start = Vec::new();
            file.read_to_end(&mut start).map_err(io)?;
            if !header().starts_with(&start) {
                return Err(TrainError::data(path, "not a file of teacher scores"));
            }
            if length > 0 {
                notes.push("the header was torn; the file begins anew".to_owned());
            }
            file.set_len(0).map_err(io)?;
            file.seek(SeekFrom::Start(0)).map_err(io)?;
            file.write_all(&header()).map_err(io)?;
        } else {
            let end = read_records(path, &mut file, length, &mut scores, &mut notes)?;
            if end < length {
                file.set_len(end).map_err(io)?;
            }
            file.seek(SeekFrom::Start(end)).map_err(io)?;
        }
        for note in &notes {
            tracing::warn!("{}: {note}", path.display());
        }
        Ok(Self {
            path: path.to_owned(),
            teacher: teacher.to_owned(),
            file: BufWriter::with_capacity(1 << 16, file),
            scores,
            notes,
        })
    }

    /// What was found wrong at opening and put right.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// How many scores it holds, of all teachers.
    pub fn len(&self) -> usize {
        self.scores.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.scores.is_empty()
    }

    /// The key of a pair for this cache's teacher.
    pub fn key(&self, query: &str, passage: &[u32]) -> ScoreKey {
        score_key(&self.teacher, query, passage)
    }

    /// A known score.
    pub fn get(&self, key: &ScoreKey) -> Option<f32> {
        self.scores.get(key).copied()
    }

    /// Adds a score. It is safe from a kill of the process only after [`ScoreCache::flush`].
    ///
    /// # Errors
    /// When the score is not finite or the disk does not take it.
    pub fn insert(&mut self, key: ScoreKey, score: f32) -> Result<(), TrainError> {
        if !score.is_finite() {
            return Err(TrainError::data(
                &self.path,
                format!("the teacher gave a score that is not finite ({score}); such a teacher cannot be distilled"),
            ));
        }
        if self.scores.get(&key).is_some_and(|known| known.to_bits() == score.to_bits()) {
            return Ok(());
        }
        self.file.write_all(&record(&key, score)).map_err(|e| TrainError::io(&self.path, e))?;
        self.scores.insert(key, score);
        Ok(())
    }

    /// Hands everything to the disk.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn flush(&mut self) -> Result<(), TrainError> {
        self.file.flush().and_then(|()| self.file.get_ref().sync_data()).map_err(|e| TrainError::io(&self.path, e))
    }
}

/// The scores of a file, looked at without touching it: for reports, also while another process writes.
#[derive(Debug)]
pub struct KnownScores {
    teacher: String,
    scores: HashMap<ScoreKey, f32>,
    notes: Vec<String>,
}

impl KnownScores {
    /// Reads the file of scores; one that is not there has none.
    ///
    /// # Errors
    /// When the file belongs to another program or version, or cannot be read.
    pub fn read(path: &Path, teacher: &str) -> Result<Self, TrainError> {
        let mut known = Self { teacher: teacher.to_owned(), scores: HashMap::new(), notes: Vec::new() };
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(known),
            Err(e) => return Err(TrainError::io(path, e)),
        };
        let length = file.metadata().map_err(|e| TrainError::io(path, e))?.len();
        if length >= HEADER as u64 {
            read_records(path, &mut file, length, &mut known.scores, &mut known.notes)?;
        }
        Ok(known)
    }

    /// How many scores there are, of all teachers.
    pub fn len(&self) -> usize {
        self.scores.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.scores.is_empty()
    }

    /// What is wrong with the file.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The teacher's score of a pair, where it is known.
    pub fn get(&self, query: &str, passage: &[u32]) -> Option<f32> {
        self.scores.get(&score_key(&self.teacher, query, passage)).copied()
    }
}

impl Drop for ScoreCache {
    fn drop(&mut self) {
        // Best effort: whoever needs certainty has called `flush` and seen its answer.
        let _ = self.file.flush();
    }
}

/// The key of a pair.
pub fn score_key(teacher: &str, query: &str, passage: &[u32]) -> ScoreKey {
    let mut hash = Sha256::new();
    let mut part = |sort: u8, bytes: &[u8]| {
        hash.update([sort]);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(0, teacher.as_bytes());
    part(1, query.as_bytes());
    let bytes: Vec<u8> = passage.iter().flat_map(|t| t.to_le_bytes()).collect();
    part(3, &bytes);
    let full: [u8; 32] = hash.finalize().into();
    let mut key = [0; 16];
    key.copy_from_slice(&full[..16]);
    key
}

fn header() -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    let sum = crc32fast::hash(&bytes[..12]);
    bytes[12..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn record(key: &ScoreKey, score: f32) -> [u8; RECORD] {
    let mut bytes = [0; RECORD];
    bytes[..16].copy_from_slice(key);
    bytes[16..20].copy_from_slice(&score.to_le_bytes());
    let sum = crc32fast::hash(&bytes[..20]);
    bytes[20..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// Reads all records; gives where the good part of the file ends.
fn read_records(
    path: &Path,
    file: &mut File,
    length: u64,
    scores: &mut HashMap<ScoreKey, f32>,
    notes: &mut Vec<String>,
) -> Result<u64, TrainError> {
    let io = |e| TrainError::io(path, e);
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut start = [0; HEADER];
    reader.read_exact(&mut start).map_err(io)?;
    if &start[..8] != MAGIC {
        return Err(TrainError::data(path, "not a file of teacher scores"));
    }
    let version = u32::from_le_bytes([start[8], start[9], start[10], start[11]]);
    if start != header() {
        let reason = if version == VERSION {
            "its header is damaged: move the file away, and the scores are made anew".to_owned()
        } else {
            format!("format version {version}, and this program reads version {VERSION}")
        };
        return Err(TrainError::data(path, reason));
    }
    let whole = (length - HEADER as u64) / RECORD as u64;
    let mut bytes = [0; RECORD];
    let mut bad = 0u64;
    // Records after the last good one are a torn end; bad ones before it were damaged where they lie.
    let mut last_good = 0u64;
    let mut bad_before_last_good = 0u64;
    for n in 1..=whole {
        reader.read_exact(&mut bytes).map_err(io)?;
        let mut key = [0; 16];
        key.copy_from_slice(&bytes[..16]);
        let score = f32::from_le_bytes([bytes[16], bytes[17], bytes[18], bytes[19]]);
        if bytes == record(&key, score) && score.is_finite() {
            scores.insert(key, score);
            last_good = n;
            bad_before_last_good = bad;
        } else {
            bad += 1;
        }
    }
    let end = HEADER as u64 + last_good * RECORD as u64;
    if end < length {
        notes.push(format!("{} bytes of a torn end are left out", length - end));
    }
    if bad_before_last_good > 0 {
        notes.push(format!("{bad_before_last_good} damaged scores are left out and will be made again"));
    }
    Ok(end)
}

#[cfg(test)]
#[path = "scores_tests.rs"]
mod tests;
