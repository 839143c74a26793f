//! Folders with a list of their files and hashes.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Component, Path};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::report::{CheckReport, Kind};
use crate::error::PluginError;

/// Files that hold such a list, under `files`: name, then `bytes` and `sha256`.
const LISTS: [&str; 2] = ["adam_export.json", "manifest.json"];

/// Most bytes of a list that are read.
const MAX_LIST: u64 = 16 << 20;

/// Depth at which lists are looked for: the folder of a run contains those of its models.
const DEPTH: usize = 4;

const EXPORT_AGAIN: &str = "restore it from a copy, or make the folder again";

/// Checks a folder and those below it; `None` where there is no list.
pub(super) fn check(folder: &Path) -> Result<Option<CheckReport>, PluginError> {
    let mut report = CheckReport::new(Kind::Listed);
    let found = descend(folder, DEPTH, &mut report)?;
    Ok(found.then_some(report))
}

fn descend(folder: &Path, depth: usize, report: &mut CheckReport) -> Result<bool, PluginError> {
    let mut found = false;
    for name in LISTS {
        found |= check_list(folder, name, report)?;
    }
    if depth == 0 {
        return Ok(found);
    }
    let entries = folder.read_dir().map_err(|source| PluginError::io("read", folder, source))?;
    for entry in entries {
        let entry = entry.map_err(|source| PluginError::io("read", folder, source))?;
        // Links may lead anywhere, in circles too.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found |= descend(&entry.path(), depth - 1, report)?;
        }
    }
    Ok(found)
}

/// Checks the files that a list names; false where there is no list.
fn check_list(folder: &Path, name: &str, report: &mut CheckReport) -> Result<bool, PluginError> {
    let path = folder.join(name);
    let bytes = match durable::read(&path, MAX_LIST) {
        Ok(bytes) => bytes,
        Err(fault) if fault.kind() == ErrorKind::NotFound => return Ok(false),
        Err(fault) => {
            report.damage(path, format!("cannot be read: {fault}"), EXPORT_AGAIN);
            return Ok(true);
        }
    };
    let Ok(list) = serde_json::from_slice::<Value>(&bytes) else {
        report.damage(path, "is not JSON", EXPORT_AGAIN);
        return Ok(true);
    };
    let Some(files) = list["files"].as_object() else { return Ok(false) };
    report.files += 1;
    report.bytes += bytes.len() as u64;
    for (name, entry) in files {
        let plain = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        let (Some(sha256), true) = (entry["sha256"].as_str(), plain) else {
            report.damage(&path, format!("its entry `{name}` names no file of the folder with a hash"), EXPORT_AGAIN);
            continue;
        };
        let file = folder.join(name);
        match hash(&file) {
            Ok((bytes, found)) => {
                report.files += 1;
                report.bytes += bytes;
                if found != sha256 {
                    let problem = match entry["bytes"].as_u64() {
                        Some(expected) if expected != bytes => {
                            format!("has {bytes} bytes, and {expected} were written")
                        }
                        _ => "is not what was written (its SHA-256 differs)".to_owned(),
                    };
                    report.damage(file, problem, EXPORT_AGAIN);
                }
            }
            Err(fault) if fault.kind() == ErrorKind::NotFound => report.damage(file, "is missing", EXPORT_AGAIN),
            Err(fault) => report.damage(file, format!("cannot be read: {fault}"), EXPORT_AGAIN),
        }
    }
    Ok(true)
}

/// Length and SHA-256 of a regular file.
fn hash(path: &Path) -> std::io::Result<(u64, String)> {
    if !path.metadata()?.is_file() {
        return Err(std::io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut file = File::open(path)?;
    let (mut hash, mut length, mut part) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        match file.read(&mut part) {
            Ok(0) => break,
            Ok(read) => {
                hash.update(&part[..read]);
                length += read as u64;
            }
            Err(fault) if fault.kind() == ErrorKind::Interrupted => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok((length, hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_held_against_their_list() {
        let home = tempfile::tempdir().unwrap();
        let model = home.path().join("run/student");
        std::fs::create_dir_all(model.join("onnx")).unwrap();
        std::fs::write(model.join("onnx/model.onnx"), "weights").unwrap();
        std::fs::write(model.join("config.json"), "{}").unwrap();
        let entry = |name: &str| {
            let (bytes, sha256) = hash(&model.join(name)).unwrap();
            serde_json::json!({"bytes": bytes, "sha256": sha256})
        };
        let list = serde_json::json!({"files": {
            "onnx/model.onnx": entry("onnx/model.onnx"), "config.json": entry("config.json")}});
        std::fs::write(model.join("adam_export.json"), list.to_string()).unwrap();

        // From the folder itself, and from that of the run.
        for folder in [model.as_path(), home.path()] {
            let report = check(folder).unwrap().unwrap();
            assert_eq!((report.files, report.findings), (3, vec![]));
        }
        let problem = |folder: &Path| check(folder).unwrap().unwrap().findings[0].problem.clone();
        std::fs::write(model.join("onnx/model.onnx"), "weightz").unwrap();
        assert!(problem(home.path()).contains("SHA-256 differs"));
        std::fs::write(model.join("onnx/model.onnx"), "weight").unwrap();
        assert!(problem(&model).contains("has 6 bytes, and 7 were written"));
        std::fs::remove_file(model.join("onnx/model.onnx")).unwrap();
        assert!(problem(&model).contains("missing"));
        std::os::unix::fs::symlink("/dev/zero", model.join("onnx/model.onnx")).unwrap();
        assert!(problem(&model).contains("not a regular file"));
        std::fs::write(model.join("adam_export.json"), r#"{"files": {"../../victim": {"sha256": "00"}}}"#).unwrap();
        assert!(problem(&model).contains("names no file of the folder"));
        std::fs::write(model.join("adam_export.json"), "half").unwrap();
        assert!(problem(&model).contains("not JSON"));
        std::fs::remove_file(model.join("adam_export.json")).unwrap();
        assert!(check(home.path()).unwrap().is_none());
    }
}
