//! Model folders with damaged files, and with things in them that are no files: an error that names the file or a whole result, in
//! good time, without a panic.
//!
//! Runs for two seconds; `ADAM_FUZZ_SECONDS=600` damages files for ten minutes.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use adam_encoder::{EncoderError, EncoderOptions, SentenceEncoder, TextEncoder, TextKind};
use common::*;

const FILES: [&str; 12] = [
    "onnx/model.onnx",
    "tokenizer.json",
    "tokenizer_config.json",
    "config.json",
    "modules.json",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "2_Dense/config.json",
    "2_Dense/model.safetensors",
    "3_LayerNorm/config.json",
    "3_LayerNorm/model.safetensors",
];

fn whole() -> tempfile::TempDir {
    let folder = copy_of("tiny-both");
    copy_into(&fixture("newer"), folder.path());
    folder
}

fn encode(folder: &Path) -> Result<Vec<Vec<f32>>, EncoderError> {
    let options = EncoderOptions::default().sessions(1).threads(1);
    SentenceEncoder::open(folder, &options)?
        .encode(&["crow wire", "everyone speaks of entry", "", "日本語 😀"], TextKind::Document)
}

/// The most memory that this process has had, in MB.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}

/// Numbers without a pattern.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed ^ (mixed >> 27)) % end.max(1) as u64) as usize
    }
}

/// A file damaged in one of many ways.
fn damage(bytes: &mut Vec<u8>, draw: &mut Draw) -> String {
    let at = draw.below(bytes.len());
    match draw.below(7) {
        0 | 1 => {
            let bit = 1 << draw.below(8);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= bit;
            }
            format!("bit {bit} of byte {at}")
        }
        2 => {
            let to = draw.below(256) as u8;
            if let Some(byte) = bytes.get_mut(at) {
                *byte = to;
            }
            format!("byte {at} is {to}")
        }
        3 => {
            bytes.truncate(at);
            format!("cut at {at}")
        }
        4 => {
            let end = (at + draw.below(64)).min(bytes.len());
            bytes.drain(at..end);
            format!("without {at}..{end}")
        }
        5 => {
            let end = (at + draw.below(64)).min(bytes.len());
            let copy = bytes[at..end].to_vec();
            bytes.splice(at..at, copy);
            format!("{at}..{end} twice")
        }
        _ => {
            let end = (at + 8).min(bytes.len());
            bytes[at..end].fill(0xff);
            format!("{at}..{end} are 0xff")
        }
    }
}

#[test]
fn damaged_files_are_named_or_do_no_harm() {
    if !has_runtime() {
        return;
    }
    encode(whole().path()).unwrap();
    let seconds = std::env::var("ADAM_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut draw = Draw(std::env::var("ADAM_FUZZ_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1));
    let folder = whole();
    let originals: Vec<Vec<u8>> =
        FILES.iter().map(|name| std::fs::read(folder.path().join(name)).unwrap_or_default()).collect();
    let (mut rounds, mut refused) = (0, 0);
    while rounds < 60 || Instant::now() < end {
        let which = rounds % FILES.len();
        if originals[which].is_empty() {
            rounds += 1;
            continue;
        }
        let path = folder.path().join(FILES[which]);
        let mut bytes = originals[which].clone();
        let how = damage(&mut bytes, &mut draw);
        std::fs::write(&path, &bytes).unwrap();
        let begun = Instant::now();
        match encode(folder.path()) {
            Ok(vectors) => assert!(vectors.iter().flatten().all(|value| value.is_finite()), "{}: {how}", FILES[which]),
            Err(fault) => {
                let said = fault.to_string();
                let caught = |fault: &EncoderError| match fault {
                    EncoderError::Panicked { .. } => true,
                    EncoderError::Text { cause, .. } => matches!(**cause, EncoderError::Panicked { .. }),
                    _ => false,
                };
                assert!(!caught(&fault), "{}: {how}: {said}", FILES[which]);
                assert!(!said.is_empty());
                refused += 1;
            }
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{}: {how}: {:?}", FILES[which], begun.elapsed());
        std::fs::write(&path, &originals[which]).unwrap();
        rounds += 1;
    }
    println!("{rounds} damaged files, {refused} refused, peak {:?} MB", peak());
    assert!(refused > 0);
    if let Some(peak) = peak() {
        assert!(peak < 3000, "{peak} MB");
    }
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_refused_by_name() {
    use std::os::unix::fs::symlink;
    let pipe = |path: &Path| {
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    };
    type Make<'a> = &'a dyn Fn(&Path);
    let kinds: [(&str, Make); 6] = [
        ("a named pipe", &pipe),
        ("a device", &|path| symlink("/dev/zero", path).unwrap()),
        ("a folder", &|path| std::fs::create_dir(path).unwrap()),
        ("a socket", &|path| drop(std::os::unix::net::UnixListener::bind(path).unwrap())),
        ("cannot read", &|path| symlink("nowhere", path).unwrap()),
        ("cannot read", &|path| symlink(path.file_name().unwrap(), path).unwrap()),
    ];
    for name in FILES {
        for (kind, make) in kinds {
            let folder = whole();
            let path = folder.path().join(name);
            if !path.exists() {
                continue;
            }
            std::fs::remove_file(&path).unwrap();
            make(&path);
            let begun = Instant::now();
            let outcome = encode(folder.path());
            assert!(begun.elapsed() < Duration::from_secs(10), "{name} as {kind}");
            match outcome {
                // A link that leads nowhere in the place of a file that may be left out is as if there were none.
                Ok(_) => assert_eq!(kind, "cannot read", "{name} as {kind}"),
                Err(fault) => {
                    let said = fault.to_string();
                    assert!(said.contains(name.rsplit('/').next().unwrap()), "{name} as {kind}: {said}");
                    assert!(kind == "cannot read" || said.contains(kind), "{name} as {kind}: {said}");
                }
            }
        }
    }
}
