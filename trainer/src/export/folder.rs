//! The exported folder: written beside its place under another name, moved there when it is whole.

use std::path::{Path, PathBuf};

use adam_encoder::Precision;
use clap::ValueEnum;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::card::{Facts, MetricRow, ModelCard, licence_of, with_results};
use super::error::ExportError;
use super::files::{Settings, make_folder, write_json, write_text};
use super::graph::{self, Form, Numbers, Writer};
use super::head::{Head, Pooling};
use super::onnx::OPSET;
use super::parity::{LEAST_COSINE, LIMIT, LIMIT_F16, Parity, Reference, sibling};
use super::source::Source;

/// The report of an export; also the mark of a folder that a later export may replace.
const REPORT: &str = "adam_export.json";
/// The model card.
const CARD: &str = "README.md";

/// What kind of model is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Kind {
    /// A sentence encoder.
    // Outputs `last_hidden_state` and `sentence_embedding`.
    #[default]
    Sentence,
    /// A cross-encoder, with one score for each pair of texts.
    // Outputs `logits`, one for each pair.
    Pair,
}

/// What to export, where to, and what the card says.
#[derive(Debug, Clone)]
pub struct ExportOptions {
    /// Folder with `config.json`, `model.safetensors` and the tokenizer, in sentence-transformers or Hugging Face layout.
    pub model: PathBuf,
    /// Folder to write. One that exists is replaced only if an export wrote it.
    pub output: PathBuf,
    /// What the model is.
    pub kind: Kind,
    /// Longest text in tokens, special tokens included. `None`: as the model's folder says.
    pub max_length: Option<usize>,
    /// Write the int8 files too.
    pub int8: bool,
    /// Write the f16 file too, for GPUs.
    pub f16: bool,
    /// How tokens are pooled. `None`: as the folder says.
    pub pooling: Option<Pooling>,
    /// Whether vectors are scaled to length 1. `None`: as the folder says.
    pub normalised: Option<bool>,
    /// Put before every query. `None`: as the folder says.
    pub query_prompt: Option<String>,
    /// Put before every document. `None`: as the folder says.
    pub document_prompt: Option<String>,
    /// Random seeds the model was made with, for the report.
    pub seeds: Vec<u64>,
    /// Texts to compare on, beside those that always are.
    pub texts: Vec<String>,
    /// What the model card says.
    pub card: ModelCard,
    /// Nobody else exports to this place now: what killed exports left beside it is removed whatever its age.
    pub alone: bool,
}

impl ExportOptions {
    /// The usual settings: a sentence encoder, as its folder says, f32, f16 and int8.
    pub fn new(model: impl Into<PathBuf>, output: impl Into<PathBuf>) -> Self {
        Self {
            model: model.into(),
            output: output.into(),
            kind: Kind::Sentence,
            max_length: None,
            int8: true,
            f16: true,
            pooling: None,
            normalised: None,
            query_prompt: None,
            document_prompt: None,
            seeds: Vec::new(),
            texts: Vec::new(),
            card: ModelCard::default(),
            alone: false,
        }
    }
}

/// One ONNX file.
#[derive(Debug, Clone, PartialEq)]
pub struct FileReport {
    /// Path in the folder, with `/`.
    pub name: String,
    /// `standard` or `fused`.
    pub operators: &'static str,
    /// `f32`, `f16` or `int8`.
    pub numbers: &'static str,
    /// Size in bytes.
    pub bytes: u64,
    /// How well it agrees with the trainer's own forward pass.
    pub parity: Option<Parity>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Exported {
    /// The folder.
    pub folder: PathBuf,
    /// Values of a vector.
    pub dimension: usize,
    /// Longest text in tokens.
    pub max_length: usize,
    /// The ONNX files.
    pub files: Vec<FileReport>,
    /// Files that were not written, and why.
    pub left_out: Vec<(String, String)>,
}

/// The ONNX files of an export.
const FILES: [(&str, Form, Numbers); 5] = [
    ("onnx/model.onnx", Form::Standard, Numbers::F32),
    ("onnx/model_fused.onnx", Form::Fused, Numbers::F32),
    ("onnx/model_fp16.onnx", Form::Standard, Numbers::F16),
    ("onnx/model_quantized.onnx", Form::Standard, Numbers::Int8),
    ("onnx/model_fused_quantized.onnx", Form::Fused, Numbers::Int8),
];

/// Whether an export, finished, lies at a path. (Exports appear whole.)
pub fn is_export(folder: &Path) -> bool {
    folder.join(REPORT).is_file()
}

/// What is wrong with an exported folder, by the path: it is gone, or a file that its report lists is gone or not the one that was
/// written. Nothing where it is whole. The card may have been edited.
pub fn fault_of(folder: &Path) -> Option<String> {
    let path = folder.join(REPORT);
    if !folder.is_dir() {
        return Some(format!("{} is gone", folder.display()));
    }
    let Ok(text) = std::fs::read(&path) else {
        return Some(format!("{} is gone", path.display()));
    };
    let Ok(report) = serde_json::from_slice::<Value>(&text) else {
        return Some(format!("{} is damaged", path.display()));
    };
    report["files"].as_object()?.iter().find_map(|(name, entry)| {
        let path = folder.join(name);
        match std::fs::metadata(&path) {
            Ok(_) if name == CARD => None,
            Ok(found) if entry["bytes"].as_u64().is_none_or(|bytes| bytes == found.len()) => {
                let is_same =
                    entry["sha256"].as_str().is_none_or(|known| hash(&path).is_ok_and(|found| found.1 == known));
                (!is_same).then(|| format!("{} is damaged: its bytes are not those that were written", path.display()))
            }
            Ok(found) => Some(format!("{} has {} bytes and had {}", path.display(), found.len(), entry["bytes"])),
            Err(_) => Some(format!("{} is gone", path.display())),
        }
    })
}

/// Writes the folder, checks every ONNX file against the trainer's own forward pass, and moves it to its place.
///
/// # Errors
/// When the model is broken or of a kind that is not supported, when the output exists and is no export, when a file
/// cannot be written, or when an f32 file differs from the forward pass by more than 1e-4. What was at the output's
/// path before is then still there.
pub fn export(options: &ExportOptions) -> Result<Exported, ExportError> {
    refuse_foreign(&options.output)?;
    let source = Source::read(&options.model)?;
    let head = choose_head(&source, options)?;
    let max_length = choose_length(&source, options.max_length)?;

    let fresh = Remove(sibling(&options.output, "fresh"));
    remove_if_there(&fresh.0)?;
    let folder = fresh.0.as_path();
    make_folder(&folder.join("onnx"))?;
    let settings = Settings {
        source: &source,
        kind: options.kind,
        head: &head,
        max_length,
        query_prompt: options.query_prompt.as_deref().unwrap_or(&source.query_prompt),
        document_prompt: options.document_prompt.as_deref().unwrap_or(&source.document_prompt),
        similarity: &source.similarity,
    };
    settings.write(folder)?;
    source.weights.write(&folder.join("model.safetensors"))?;

    let reference = Reference::new(&settings, &options.texts)?;
    let mut exported = Exported {
        folder: options.output.clone(),
        dimension: source.architecture.hidden,
        max_length,
        files: Vec::new(),
        left_out: Vec::new(),
    };
    for (name, form, numbers) in FILES {
        let precision = match numbers {
            Numbers::F32 => Precision::F32,
            Numbers::F16 => Precision::F16,
            Numbers::Int8 => Precision::Int8,
        };
        let obstacle = match (form, numbers) {
            (Form::Fused, _) => Writer::fused_obstacle(&source.architecture, numbers),
            (Form::Standard, Numbers::F16) => Writer::f16_obstacle(&source.weights),
            (Form::Standard, _) => None,
        };
        if precision == Precision::Int8 && !options.int8 || precision == Precision::F16 && !options.f16 {
            continue;
        }
        if let Some(why) = obstacle {
            exported.left_out.push((name.to_owned(), why.to_owned()));
            continue;
        }
        let bytes = graph::write(&source.architecture, &source.weights, &head, form, numbers)?;
        let path = folder.join(name);
        std::fs::write(&path, &bytes).map_err(ExportError::io(&path))?;
        let size = bytes.len() as u64;
        drop(bytes);
        let parity = reference.compare(folder, name, precision)?;
        // Written so that a difference that is no number is left out too.
        let close = parity.max_difference <= LIMIT_F16;
        if precision == Precision::F16 && !close {
            std::fs::remove_file(&path).map_err(ExportError::io(&path))?;
            let why = format!("16 bits do not hold this model's numbers: {parity}");
            tracing::warn!(file = name, "{why}");
            exported.left_out.push((name.to_owned(), why));
            continue;
        }
        tracing::info!(file = name, bytes = size, %parity, "written");
        if parity.mean_cosine < LEAST_COSINE {
            tracing::warn!(file = name, %parity, "int8 is far from f32 for this model; measure before using it");
        }
        exported.files.push(FileReport {
            name: name.to_owned(),
            operators: if form == Form::Fused { "fused" } else { "standard" },
            numbers: match precision {
                Precision::F32 => "f32",
                Precision::F16 => "f16",
                Precision::Int8 => "int8",
            },
            bytes: size,
            parity: Some(parity),
        });
    }
    write_card(&settings, options, &exported, folder)?;
    write_report(&settings, options, &exported, folder)?;
    put_in_place(&fresh.0, &options.output)?;
    remove_leftovers(&options.output, options.alone)?;
    Ok(exported)
}

fn choose_head(source: &Source, options: &ExportOptions) -> Result<Head, ExportError> {
    let mut head = match options.kind {
        Kind::Sentence => source.sentence_head()?,
        Kind::Pair => source.pair_head()?,
    };
    if let (Head::Sentence { pooling, .. }, Some(asked)) = (&mut head, options.pooling) {
        *pooling = asked;
    }
    if let (Head::Sentence { normalised, .. }, Some(asked)) = (&mut head, options.normalised) {
        *normalised = asked;
    }
    Ok(head)
}

fn choose_length(source: &Source, asked: Option<usize>) -> Result<usize, ExportError> {
    let longest = source.architecture.longest();
    match asked {
        None => Ok(source.max_length),
        Some(length) if (8..=longest).contains(&length) => Ok(length),
        Some(length) => Err(ExportError::Option {
            option: "max length",
            problem: format!("is {length}; this model takes from 8 to {longest} tokens"),
        }),
    }
}

fn write_card(
    settings: &Settings<'_>,
    options: &ExportOptions,
    exported: &Exported,
    folder: &Path,
) -> Result<(), ExportError> {
    let source = settings.source;
    let mut card = options.card.clone();
    if card.licence.is_none() {
        let readme = source.root.join("README.md");
        card.licence = std::fs::read_to_string(readme).ok().as_deref().and_then(licence_of);
    }
    let given = card.name.clone();
    let name = given.unwrap_or_else(|| {
        let name = options.output.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    });
    let (pooling, normalised) = match settings.head {
        Head::Sentence { pooling, normalised } => (pooling, *normalised),
        Head::Pair { pooling, .. } => (pooling, false),
    };
    let text = card.write(&Facts {
        name: &name,
        kind: settings.kind,
        model_type: &source.architecture.model_type,
        dimension: source.architecture.hidden,
        layers: source.architecture.layers,
        parameters: source.weights.parameters(),
        max_length: settings.max_length,
        pooling: pooling.name(),
        normalised,
        similarity: settings.similarity,
        query_prompt: settings.query_prompt,
        document_prompt: settings.document_prompt,
        files: &exported.files,
    });
    write_text(&folder.join(CARD), &text)
}

fn write_report(
    settings: &Settings<'_>,
    options: &ExportOptions,
    exported: &Exported,
    folder: &Path,
) -> Result<(), ExportError> {
    let architecture = &settings.source.architecture;
    let mut files = serde_json::Map::new();
    for name in names_in(folder)? {
        let (bytes, sha256) = hash(&folder.join(&name))?;
        let mut entry = json!({"bytes": bytes, "sha256": sha256});
        if let Some(file) = exported.files.iter().find(|file| file.name == name) {
            entry["operators"] = json!(file.operators);
            entry["numbers"] = json!(file.numbers);
            if let Some(parity) = &file.parity {
                entry["parity"] = json!({
                    "texts": parity.texts,
                    "max_difference": parity.max_difference,
                    "mean_cosine": parity.mean_cosine,
                    "least_cosine": parity.least_cosine,
                });
            }
        }
        files.insert(name, entry);
    }
    let (pooling, normalised) = match settings.head {
        Head::Sentence { pooling, normalised } => (pooling, json!(normalised)),
        Head::Pair { pooling, .. } => (pooling, Value::Null),
    };
    let report = json!({
        "format": 1,
        "written_by": format!("{} {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION")),
        "kind": match settings.kind { Kind::Sentence => "sentence", Kind::Pair => "pair" },
        "architecture": {
            "model_type": architecture.model_type,
            "layers": architecture.layers,
            "hidden": architecture.hidden,
            "parameters": settings.source.weights.parameters(),
        },
        "opset": OPSET,
        "max_length": settings.max_length,
        "pooling": pooling.name(),
        "normalised": normalised,
        "prompts": {"query": settings.query_prompt, "document": settings.document_prompt},
        "seeds": options.seeds,
        "parity": {
            "reference": "the source folder as sentence-transformers reads texts, the trainer's forward pass in libtorch, f32, on the CPU",
            "limit_f32": LIMIT,
            "limit_f16": LIMIT_F16,
        },
        "files": files,
        "left_out": exported.left_out.iter().map(|(name, why)| json!({"file": name, "why": why})).collect::<Vec<_>>(),
    });
    write_json(&folder.join(REPORT), &report)
}

/// Writes results into the card of an exported folder, in place of those it has, and the card's new hash into the report.
///
/// # Errors
/// When the folder is no export or cannot be written.
pub fn add_results(folder: &Path, rows: &[MetricRow]) -> Result<(), ExportError> {
    let path = folder.join(CARD);
    let card = std::fs::read_to_string(&path).map_err(ExportError::io(&path))?;
    let card = with_results(&card, rows).ok_or_else(|| ExportError::model(&path, "is no card that an export wrote"))?;
    let report_path = folder.join(REPORT);
    let mut report = Value::Object(super::architecture::Config::read(&report_path)?.keys);
    write_text(&path, &card)?;
    let (bytes, sha256) = hash(&path)?;
    report["files"][CARD] = json!({"bytes": bytes, "sha256": sha256});
    write_json(&report_path, &report)
}

/// Notes in the report which weight the dense score should have in a hybrid search, and on how many held-out queries that was chosen.
///
/// # Errors
/// When the folder is no export or cannot be written.
pub fn add_hybrid_weight(folder: &Path, weight: f32, queries: usize) -> Result<(), ExportError> {
    let path = folder.join(REPORT);
    let mut report = Value::Object(super::architecture::Config::read(&path)?.keys);
    // As it is written: 0.85, and not the nearest binary fraction.
    let weight: f64 = format!("{weight:.2}").parse().unwrap_or(f64::from(weight));
    report["hybrid"] = json!({"dense_weight": weight, "held_out_queries": queries});
    write_json(&path, &report)
}

/// Paths of all files below a folder, with `/`, sorted.
fn names_in(folder: &Path) -> Result<Vec<String>, ExportError> {
    let mut names = Vec::new();
    let mut open = vec![(folder.to_path_buf(), String::new())];
    while let Some((place, prefix)) = open.pop() {
        for entry in std::fs::read_dir(&place).map_err(ExportError::io(&place))? {
            let path = entry.map_err(ExportError::io(&place))?.path();
            let name = format!("{prefix}{}", path.file_name().unwrap_or_default().to_string_lossy());
            if path.is_dir() {
                open.push((path, format!("{name}/")));
            } else {
                names.push(name);
            }
        }
    }
    names.sort();
    Ok(names)
}

fn hash(path: &Path) -> Result<(u64, String), ExportError> {
    let mut file = std::fs::File::open(path).map_err(ExportError::io(path))?;
    let mut hasher = Sha256::new();
    let (mut bytes, mut block) = (0, vec![0; 1 << 20]);
    loop {
        let count = std::io::Read::read(&mut file, &mut block).map_err(ExportError::io(path))?;
        if count == 0 {
            break;
        }
        hasher.update(&block[..count]);
        bytes += count as u64;
    }
    let digest = hasher.finalize();
    Ok((bytes, digest.iter().map(|byte| format!("{byte:02x}")).collect()))
}

/// Refuses a path where something lies that no export wrote.
fn refuse_foreign(output: &Path) -> Result<(), ExportError> {
    if output.file_name().is_none() {
        return Err(ExportError::model(output, "has no name to give the exported folder"));
    }
    let there = output.symlink_metadata().is_ok();
    let empty = output.read_dir().is_ok_and(|mut entries| entries.next().is_none());
    if there && !empty && !output.join(REPORT).is_file() {
        return Err(ExportError::model(
            output,
            format!("exists and has no {REPORT}, so it is not replaced; give another output or remove it"),
        ));
    }
    Ok(())
}

/// Moves the fresh folder to its place. What was there is set aside first and removed last, so that one of the two
/// is there whole at every moment but the one between two renames.
fn put_in_place(fresh: &Path, output: &Path) -> Result<(), ExportError> {
    let old = Remove(sibling(output, "old"));
    remove_if_there(&old.0)?;
    if output.symlink_metadata().is_ok() {
        durable::rename(output, &old.0).map_err(ExportError::io(output))?;
    } else if let Some(parent) = output.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_folder(parent)?;
    }
    sync_tree(fresh)?;
    if let Err(error) = durable::rename(fresh, output) {
        // Put back what was there; if that fails too, it is still beside its place under the other name.
        if std::fs::rename(&old.0, output).is_err() {
            std::mem::forget(old);
        }
        return Err(ExportError::io(output)(error));
    }
    Ok(())
}

/// Hands the files of a folder to the disk, so that its new name never stands for files without content.
fn sync_tree(folder: &Path) -> Result<(), ExportError> {
    for name in names_in(folder)? {
        let path = folder.join(name);
        std::fs::File::open(&path).and_then(|file| file.sync_all()).map_err(ExportError::io(&path))?;
        if let Some(parent) = path.parent() {
            durable::sync_folder(parent).map_err(ExportError::io(parent))?;
        }
    }
    Ok(())
}

/// Removes what exports that were killed left beside the output: `NAME.fresh-PID.tmp` and its siblings, each as large as a model. Those of
/// a process that is alive stay; so do, where others may export here (not `alone`), those of the last hour: the process may live where this
/// one cannot see it.
fn remove_leftovers(output: &Path, alone: bool) -> Result<(), ExportError> {
    const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);
    let Some(name) = output.file_name().and_then(|name| name.to_str()) else { return Ok(()) };
    let parent = output.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(entries) = std::fs::read_dir(parent) else { return Ok(()) };
    for entry in entries.flatten() {
        let found = entry.file_name().to_string_lossy().into_owned();
        let rest = found.strip_prefix(name).and_then(|rest| rest.strip_suffix(".tmp"));
        let process = ["fresh", "old", "check"]
            .iter()
            .find_map(|what| rest?.split_once(&format!(".{what}-"))?.1.parse::<u32>().ok());
        let Some(process) = process.filter(|&process| process != std::process::id()) else { continue };
        let is_alive = Path::new("/proc").join(process.to_string()).exists();
        let is_old = entry
            .metadata()
            .and_then(|meta| meta.modified())
            .is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age > HOUR));
        if !is_alive && (alone || is_old) {
            remove_if_there(&entry.path())?;
        }
    }
    Ok(())
}

fn remove_if_there(folder: &Path) -> Result<(), ExportError> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(ExportError::io(folder)(error)),
        _ => Ok(()),
    }
}

/// A folder that is removed at the end, whatever happened, if it is still there.
pub(super) struct Remove(pub(super) PathBuf);

impl Drop for Remove {
    fn drop(&mut self) {
        // Nothing can be done about a failure here, and the name says what it is.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_killed_exports_left_goes_and_what_lives_stays() {
        let place = tempfile::tempdir().unwrap();
        let output = place.path().join("student");
        let mut dead = std::process::Command::new("true").spawn().unwrap();
        dead.wait().unwrap();
        let names = [
            format!("student.fresh-{}.tmp", dead.id()),
            format!("student.fresh-{}.tmp", std::os::unix::process::parent_id()),
            format!("other.fresh-{}.tmp", dead.id()),
            "student.notes.tmp".to_owned(),
        ];
        for name in &names {
            std::fs::create_dir_all(place.path().join(name).join("onnx")).unwrap();
        }
        let left = || names.iter().filter(|name| place.path().join(name).is_dir()).count();
        // It may be somebody's who is not seen from here.
        remove_leftovers(&output, false).unwrap();
        assert_eq!(left(), 4);
        remove_leftovers(&output, true).unwrap();
        assert_eq!(left(), 3);
        assert!(!place.path().join(&names[0]).exists());
    }

    #[test]
    fn a_folder_that_is_no_longer_whole_is_told_by_file() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("student");
        let fault = || fault_of(&folder).unwrap_or_default();
        assert!(fault().ends_with("student is gone"), "{}", fault());
        std::fs::create_dir_all(folder.join("onnx")).unwrap();
        assert!(fault().ends_with("adam_export.json is gone"), "{}", fault());
        let report = json!({"files": {"README.md": {"bytes": 2}, "onnx/model.onnx": {"bytes": 3}}});
        write_json(&folder.join(REPORT), &report).unwrap();
        std::fs::write(folder.join(CARD), "a card that somebody has written on").unwrap();
        assert!(fault().ends_with("model.onnx is gone"), "{}", fault());
        std::fs::write(folder.join("onnx/model.onnx"), "ab").unwrap();
        assert!(fault().ends_with("model.onnx has 2 bytes and had 3"), "{}", fault());
        std::fs::write(folder.join("onnx/model.onnx"), "abc").unwrap();
        assert_eq!(fault_of(&folder), None);
        let (bytes, sha256) = hash(&folder.join("onnx/model.onnx")).unwrap();
        let report = json!({"files": {"onnx/model.onnx": {"bytes": bytes, "sha256": sha256}}});
        write_json(&folder.join(REPORT), &report).unwrap();
        assert_eq!(fault_of(&folder), None);
        std::fs::write(folder.join("onnx/model.onnx"), "abd").unwrap();
        assert!(fault().contains("model.onnx is damaged"), "{}", fault());
        std::fs::write(folder.join(REPORT), "{").unwrap();
        assert!(fault().ends_with("adam_export.json is damaged"), "{}", fault());
    }
}
