//! The file of mined candidates: JSON lines, each with a checksum, so that a stopped run goes on and a damaged file is noticed.
//!
//! Each line is `{"sum":"XXXXXXXX","row":ROW}`, where the sum is the CRC-32 of ROW's bytes in hexadecimal. The first ROW is
//! `{"format":"adam-mined","version":1,"key":"..."}`; the key names everything the file depends on. Then one ROW per query,
//! in the order of the training data: `{"query":ID,"positive":SIMILARITY,"removed":{..},"candidates":[{"id":ID,"bm25":SCORE,
//! "bm25_rank":N,"dense_rank":N,"dense":SIMILARITY}, ..]}`, where absent values are left out. The last is `{"queries":N}`.

use super::{MinedCandidate, MinedQuery, Removed};
use crate::data::{Passages, TrainQuery};
use crate::error::TrainError;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const FORMAT: &str = "adam-mined";
const VERSION: u32 = 1;
/// Longest line that is read; a query has some thousand candidates at most.
const MOST_LINE: u64 = 64 << 20;

#[derive(Serialize, Deserialize)]
struct HeaderRow {
    format: String,
    version: u32,
    key: String,
}

#[derive(Serialize, Deserialize)]
struct QueryRow {
    query: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    positive: Option<f32>,
    removed: Removed,
    candidates: Vec<CandidateRow>,
}

#[derive(Serialize, Deserialize)]
struct CandidateRow {
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bm25: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bm25_rank: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dense_rank: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dense: Option<f32>,
}

#[derive(Serialize, Deserialize)]
struct EndRow {
    queries: usize,
}

/// How far a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinedState {
    /// Queries are missing.
    Unfinished,
    /// Every query is there.
    Finished,
}

/// A file that is being written, or is finished.
#[derive(Debug)]
pub struct MinedFile {
    path: PathBuf,
    file: BufWriter<File>,
    done: usize,
    total: usize,
    ended: bool,
    notes: Vec<String>,
}

impl MinedFile {
    /// Opens a file to go on with, or begins one. One that was made from something else is begun anew.
    pub(super) fn open(
        path: &Path,
        key: &str,
        queries: &[TrainQuery],
        passages: &Passages,
    ) -> Result<Self, TrainError> {
        let io = |e| TrainError::io(path, e);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(io)?;
        }
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut notes = Vec::new();
        let mut done = 0usize;
        let mut ended = false;
        let mut good = 0u64;
        let ids: HashMap<&str, u32> = if length > 0 { id_numbers(passages) } else { HashMap::new() };
        let outcome = scan(path, &mut file, &mut |line, end| {
            match line {
                Line::Header(found) if found == key => (),
                Line::Header(_) => {
                    return Err("it was made from other data, another model or other settings".to_owned());
                }
                Line::Query(row) => {
                    let expected = queries.get(done).map(|q| q.id.as_str());
                    if ended || expected != Some(row.query.as_str()) {
                        return Err(format!("query {} is not the one expected", done + 1));
                    }
                    resolve(row, &ids)?;
                    done += 1;
                }
                Line::End(count) if count == done && done == queries.len() => ended = true,
                Line::End(_) => return Err("its end does not fit its queries".to_owned()),
            }
            good = end;
            Ok(())
        });
        match outcome {
            Ok(()) => (),
            Err(Stop::Foreign(reason)) => return Err(TrainError::data(path, reason)),
            Err(Stop::Io(e)) => return Err(io(e)),
            Err(Stop::Row(reason)) => {
                notes.push(format!("{reason}; {done} of {} queries are kept", queries.len()));
            }
        }
        for note in &notes {
            tracing::warn!("{}: {note}", path.display());
        }
        file.set_len(good).map_err(io)?;
        file.seek(SeekFrom::Start(good)).map_err(io)?;
        let mut mined = Self {
            path: path.to_owned(),
            file: BufWriter::with_capacity(1 << 20, file),
            done,
            total: queries.len(),
            ended,
            notes,
        };
        if good == 0 {
            let header = HeaderRow { format: FORMAT.to_owned(), version: VERSION, key: key.to_owned() };
            mined.write_row(&header)?;
            mined.flush()?;
        }
        Ok(mined)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Queries that are in it.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Whether it is finished.
    pub fn state(&self) -> MinedState {
        if self.ended { MinedState::Finished } else { MinedState::Unfinished }
    }

    /// What was found wrong at opening and put right.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    fn write_row(&mut self, row: &impl Serialize) -> Result<(), TrainError> {
        let json = serde_json::to_string(row).map_err(|e| TrainError::data(&self.path, e.to_string()))?;
        let sum = crc32fast::hash(json.as_bytes());
        writeln!(self.file, "{{\"sum\":\"{sum:08x}\",\"row\":{json}}}").map_err(|e| TrainError::io(&self.path, e))
    }

    pub(super) fn append(&mut self, query: &MinedQuery, passages: &Passages) -> Result<(), TrainError> {
        let candidates = query
            .candidates
            .iter()
            .map(|c| CandidateRow {
                id: passages.ids.get(c.passage as usize).cloned().unwrap_or_default(),
                bm25: c.bm25.map(|(_, score)| score),
                bm25_rank: c.bm25.map(|(rank, _)| rank),
                dense_rank: c.dense_rank,
                dense: c.similarity,
            })
            .collect();
        self.write_row(&QueryRow {
            query: query.query.clone(),
            positive: query.positive_similarity,
            removed: query.removed,
            candidates,
        })?;
        self.done += 1;
        Ok(())
    }

    /// Hands everything to the disk.
    pub(super) fn flush(&mut self) -> Result<(), TrainError> {
        let flushed = self.file.flush().and_then(|()| self.file.get_ref().sync_data());
        flushed.map_err(|e| TrainError::io(&self.path, e))
    }

    pub(super) fn finish(&mut self) -> Result<(), TrainError> {
        if !self.ended && self.done == self.total {
            self.write_row(&EndRow { queries: self.done })?;
            self.ended = true;
        }
        self.flush()
    }
}

enum Line {
    Header(String),
    Query(QueryRow),
    End(usize),
}

enum Stop {
    /// Not a file of ours.
    Foreign(String),
    Io(std::io::Error),
    /// The rows end here: torn, damaged, or of something else.
    Row(String),
}

/// Reads line after line and hears from `take`, which is given the place after the line, whether it fits.
fn scan(path: &Path, file: &mut File, take: &mut dyn FnMut(Line, u64) -> Result<(), String>) -> Result<(), Stop> {
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut bytes = Vec::new();
    let mut end = 0u64;
    let mut number = 0u64;
    loop {
        bytes.clear();
        (&mut reader).take(MOST_LINE).read_until(b'\n', &mut bytes).map_err(Stop::Io)?;
        if bytes.is_empty() {
            return Ok(());
        }
        number += 1;
        end += bytes.len() as u64;
        let line = parse(&bytes, number == 1).map_err(|reason| {
            let begins = b"{\"sum\":\"";
            // Less than a header may be a header that was cut short; anything else at the start is not ours.
            if number == 1 && !bytes.starts_with(begins) && !begins.starts_with(&bytes) {
                Stop::Foreign(format!("not a file of mined passages; move it away from {}", path.display()))
            } else {
                Stop::Row(format!("line {number}: {reason}"))
            }
        })?;
        if let Line::Header(key) = &line
            && let Some(version) = key.strip_prefix("version ")
        {
            return Err(Stop::Foreign(format!("format version {version}, and this program reads version {VERSION}")));
        }
        take(line, end).map_err(|reason| Stop::Row(format!("line {number}: {reason}")))?;
    }
}

fn parse(bytes: &[u8], first: bool) -> Result<Line, String> {
    let torn = || "it is torn".to_owned();
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let rest = text.strip_prefix("{\"sum\":\"").ok_or_else(torn)?;
    let (sum, rest) = rest.split_at_checked(8).ok_or_else(torn)?;
    let row = rest.strip_prefix("\",\"row\":").and_then(|row| row.strip_suffix("}\n")).ok_or_else(torn)?;
    if u32::from_str_radix(sum, 16) != Ok(crc32fast::hash(row.as_bytes())) {
        return Err("its checksum does not fit".to_owned());
    }
    let wrong = |e: serde_json::Error| format!("it is not a row of mined passages: {e}");
    if first {
        let header: HeaderRow = serde_json::from_str(row).map_err(wrong)?;
        if header.format != FORMAT {
            return Err(format!("its format is `{}`", header.format));
        }
        // A later version must not be overwritten; the caller turns this into a refusal.
        return Ok(Line::Header(if header.version == VERSION {
            header.key
        } else {
            format!("version {}", header.version)
        }));
    }
    if row.starts_with("{\"queries\":") {
        let end: EndRow = serde_json::from_str(row).map_err(wrong)?;
        return Ok(Line::End(end.queries));
    }
    serde_json::from_str(row).map(Line::Query).map_err(wrong)
}

fn id_numbers(passages: &Passages) -> HashMap<&str, u32> {
    passages.ids.iter().enumerate().map(|(number, id)| (id.as_str(), number as u32)).collect()
}

fn resolve(row: QueryRow, ids: &HashMap<&str, u32>) -> Result<MinedQuery, String> {
    let mut candidates = Vec::with_capacity(row.candidates.len());
    for candidate in row.candidates {
        let Some(&passage) = ids.get(candidate.id.as_str()) else {
            return Err("it names a passage that is not in the data".to_owned());
        };
        candidates.push(MinedCandidate {
            passage,
            bm25: candidate.bm25_rank.zip(candidate.bm25),
            dense_rank: candidate.dense_rank,
            similarity: candidate.dense,
        });
    }
    Ok(MinedQuery { query: row.query, candidates, positive_similarity: row.positive, removed: row.removed })
}

/// Reads a finished file.
///
/// # Errors
/// When it is not such a file, unfinished, damaged, or names passages that are not in the data.
pub fn read(path: &Path, passages: &Passages) -> Result<Vec<MinedQuery>, TrainError> {
    let mut file = File::open(path).map_err(|e| TrainError::io(path, e))?;
    let ids = id_numbers(passages);
    let mut queries = Vec::new();
    let mut ended = false;
    let outcome = scan(path, &mut file, &mut |line, _| {
        match line {
            Line::Header(_) => (),
            Line::Query(_) if ended => return Err("there are rows after the end".to_owned()),
            Line::Query(row) => queries.push(resolve(row, &ids)?),
            Line::End(count) if count == queries.len() => ended = true,
            Line::End(_) => return Err("its end does not fit its queries".to_owned()),
        }
        Ok(())
    });
    match outcome {
        Ok(()) if ended => Ok(queries),
        Ok(()) => Err(TrainError::data(path, "it is not finished: run the stage `mine` again to go on")),
        Err(Stop::Io(e)) => Err(TrainError::io(path, e)),
        Err(Stop::Foreign(reason)) => Err(TrainError::data(path, reason)),
        Err(Stop::Row(reason)) => Err(TrainError::data(path, format!("{reason}; run the stage `mine` again"))),
    }
}
