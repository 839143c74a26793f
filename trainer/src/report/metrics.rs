//! Metrics of every step: `metrics.jsonl`, one object a line, and an event file for TensorBoard.

use super::curves::Curve;
use super::tensorboard::EventWriter;
use crate::error::TrainError;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

/// Key of a row that says that its stage began anew.
const BEGINS: &str = "begins";

/// Where metrics of a stage go. Both files only grow; a resumed run writes on, and one that begins anew says so by a row, before
/// which nothing counts.
#[derive(Debug)]
pub struct Metrics {
    path: PathBuf,
    file: File,
    events: EventWriter,
    stage: &'static str,
}

impl Metrics {
    /// Opens the files of a run's folder, to go on in (`resumed`) or to begin the stage anew.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn open(folder: &Path, stage: &'static str, resumed: bool) -> Result<Self, TrainError> {
        std::fs::create_dir_all(folder).map_err(|e| TrainError::io(folder, e))?;
        let path = folder.join("metrics.jsonl");
        let io = |e| TrainError::io(&path, e);
        let mut file = OpenOptions::new().create(true).append(true).open(&path).map_err(io)?;
        if !resumed {
            let row = serde_json::json!({ "stage": stage, BEGINS: true });
            file.write_all(format!("{row}\n").as_bytes()).map_err(io)?;
        }
        Ok(Self { events: EventWriter::open(&folder.join("tensorboard").join(stage))?, path, file, stage })
    }

    /// Writes the values of a step. Numbers that are not finite are written as null.
    ///
    /// # Errors
    /// When the disk does not take them.
    pub fn write(&mut self, step: usize, values: &[(&str, f64)]) -> Result<(), TrainError> {
        let mut row = Map::new();
        row.insert("stage".to_owned(), Value::from(self.stage));
        row.insert("step".to_owned(), Value::from(step));
        for (name, value) in values {
            row.insert((*name).to_owned(), Value::from(*value));
        }
        let mut line = Value::Object(row).to_string();
        line.push('\n');
        self.file.write_all(line.as_bytes()).map_err(|e| TrainError::io(&self.path, e))?;
        self.events.write(step as i64, values)
    }
}

/// Reads `metrics.jsonl` back: for each stage and name a curve, since the stage last began anew. A step that was made again after a
/// resume counts once, as last written; lines that are torn are passed over.
///
/// # Errors
/// When the file cannot be read.
pub fn read_curves(folder: &Path) -> Result<BTreeMap<(String, String), Curve>, TrainError> {
    let path = folder.join("metrics.jsonl");
    let mut points: BTreeMap<(String, String), BTreeMap<u64, f64>> = BTreeMap::new();
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(e) => return Err(TrainError::io(&path, e)),
    };
    for line in BufReader::new(file).lines() {
        let line = line.map_err(|e| TrainError::io(&path, e))?;
        let Ok(Value::Object(row)) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        let Some(stage) = row.get("stage").and_then(Value::as_str) else {
            continue;
        };
        if row.contains_key(BEGINS) {
            points.retain(|(of, _), _| of != stage);
        }
        let Some(step) = row.get("step").and_then(Value::as_u64) else {
            continue;
        };
        for (name, value) in &row {
            if let (Some(value), true) = (value.as_f64(), name != "step") {
                points.entry((stage.to_owned(), name.clone())).or_default().insert(step, value);
            }
        }
    }
    Ok(points
        .into_iter()
        .map(|(key, points)| {
            let curve = Curve {
                name: key.1.clone(),
                points: points.into_iter().map(|(step, value)| (step as f64, value)).collect(),
            };
            (key, curve)
        })
        .collect())
}
