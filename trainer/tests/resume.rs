//! A run that was stopped, however, ends with the very bytes of one that was not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use adam_train::TrainError;
use adam_train::config::Config;
use adam_train::report::{Reporter, read_curves};
use adam_train::stages::{Pipeline, Stage};
use common::{adam_train, configuration, said, write_data};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Data and a configuration file for each of some runs.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new(queries: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_data(&folder.path().join("data"), queries);
        Self { folder }
    }

    fn run(&self, name: &str, more: &str) -> (PathBuf, PathBuf) {
        let output = self.folder.path().join(name);
        let file = self.folder.path().join(format!("{name}.toml"));
        std::fs::write(&file, configuration(&self.folder.path().join("data"), &output, more)).unwrap();
        (file, output)
    }
}

/// libtorch draws dropout from one generator of the process, so one run at a time.
static ONE_RUN: Mutex<()> = Mutex::new(());

fn go(file: &Path, last: Stage, stop: bool) -> Result<(), TrainError> {
    // A test that failed meanwhile is no reason for this one to.
    let _alone = ONE_RUN.lock().unwrap_or_else(PoisonError::into_inner);
    let config = Config::read(file, &[]).unwrap();
    let (reporter, stop) = (Reporter::silent(), AtomicBool::new(stop));
    Pipeline::open(&config, &reporter, &stop)?.run(last).map(|_| ())
}

fn bytes(output: &Path, name: &str) -> Vec<u8> {
    let path = output.join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

const TEACHER: &str = "teacher/model.safetensors";
const STUDENT: &str = "distil/model/model.safetensors";

/// What each step of a stage measured, but for times; a step that was made again as last written.
fn measured(output: &Path, stage: &str) -> Vec<serde_json::Value> {
    let text = String::from_utf8(bytes(output, "metrics.jsonl")).unwrap();
    let mut rows: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    rows.retain(|row| row["stage"] == stage && row.get("loss").is_some());
    for row in &mut rows {
        for clock in ["tokens_per_second", "seconds"] {
            row.as_object_mut().unwrap().remove(clock);
        }
    }
    let mut last = std::collections::BTreeMap::new();
    for row in rows {
        last.insert(row["step"].as_u64().unwrap(), row);
    }
    last.into_values().collect()
}

fn checkpoints(output: &Path, stage: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(output.join(stage).join("checkpoints")) else { return Vec::new() };
    let mut found: Vec<PathBuf> =
        entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "json")).collect();
    found.sort();
    found
}

#[test]
fn a_run_in_steps_of_one_ends_as_a_run_at_once() {
    let place = Place::new(60);
    let (whole_file, whole) = place.run("whole", "");
    go(&whole_file, Stage::Distil, false).unwrap();
    assert!(checkpoints(&whole, "distil").is_empty(), "a finished loop leaves no checkpoint behind");

    let (file, output) = place.run("parts", "");
    go(&file, Stage::Mine, false).unwrap();
    let mut stops = 0;
    for (before, stage) in [(Stage::Mine, Stage::Teacher), (Stage::Score, Stage::Distil)] {
        go(&file, before, false).unwrap();
        // The flag is up from the start: each call makes one step, writes a checkpoint and ends.
        loop {
            match go(&file, stage, true) {
                Ok(()) => break,
                Err(TrainError::Interrupted) => stops += 1,
                Err(other) => panic!("{other}"),
            }
            assert!(checkpoints(&output, stage.name()).len() <= 2, "only the newest two are kept");
            assert!(stops < 200);
        }
    }
    let steps = measured(&whole, "teacher").len() + measured(&whole, "distil").len();
    // The last step of each of the two loops ends it.
    assert_eq!((stops, steps), (34, 36));
    for stage in ["teacher", "distil"] {
        assert_eq!(measured(&whole, stage), measured(&output, stage), "{stage}");
    }
    for name in [TEACHER, STUDENT] {
        assert!(bytes(&whole, name) == bytes(&output, name), "{name} differs");
    }
    // It did train: the student is not the model it started from, and pacing let more and more queries in.
    let first = common::tiny_model("bert").join("model.safetensors");
    assert!(bytes(&whole, STUDENT) != std::fs::read(first).unwrap());
    let selected: Vec<f64> = measured(&whole, "distil").iter().map(|r| r["selected"].as_f64().unwrap()).collect();
    assert!(selected[0] < 0.6 && selected[selected.len() - 1] == 1.0, "{selected:?}");
    // Teacher and student were set side by side over what is held out: the student as distillation found it, the teacher on passages
    // no longer than the student reads.
    let outcome = |stage: &str| -> serde_json::Value {
        serde_json::from_slice::<serde_json::Value>(&bytes(&whole, &format!("{stage}/stamp.json"))).unwrap()["outcome"]
            .take()
    };
    let held_out = outcome("score")["held_out"].take();
    assert_eq!(held_out["student"], outcome("distil")["evaluations"][0][1]);
    assert_eq!(held_out["queries"], 6);
    let teacher = held_out["teacher"].as_f64().unwrap();
    assert!(teacher > 0.0 && teacher < 1.0, "{held_out}");
}

/// Starts `adam-train distil` over a run whose earlier stages are done.
fn start(file: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_adam-train"))
        .args(["distil", file.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits until distillation has made some steps.
fn wait_for_steps(output: &Path, child: &mut Child, count: usize) {
    let began = Instant::now();
    loop {
        let text = std::fs::read_to_string(output.join("metrics.jsonl")).unwrap_or_default();
        if text.lines().filter(|line| line.contains("\"distil\"") && line.contains("\"loss\"")).count() >= count {
            return;
        }
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be stopped; give it more steps");
        assert!(began.elapsed() < Duration::from_secs(120), "no step in two minutes");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

const LONG: &str = "\n[distil.adamw]\nweight_decay = 0.01\n";

/// A run with many steps, finished, and its sibling whose stages before distillation are done.
fn long_run(place: &Place) -> (PathBuf, PathBuf, PathBuf) {
    let (whole_file, whole) = place.run("whole", LONG);
    for file in [&whole_file, &place.run("stopped", LONG).0] {
        let text = std::fs::read_to_string(file).unwrap();
        let text = text.replace("epochs = 4\n", "epochs = 20\n");
        std::fs::write(file, text).unwrap();
    }
    go(&whole_file, Stage::Distil, false).unwrap();
    let (file, output) = (place.folder.path().join("stopped.toml"), place.folder.path().join("stopped"));
    go(&file, Stage::Score, false).unwrap();
    (whole, file, output)
}

#[test]
fn ctrl_c_and_kill_lose_nothing() {
    let place = Place::new(60);
    let (whole, file, output) = long_run(&place);

    // Ctrl-C, and what a container's end sends: a checkpoint, a sentence, the signal's exit code.
    let at = |path: &Path| -> usize { path.file_stem().unwrap().to_str().unwrap()[6..].parse().unwrap() };
    let mut first = 0;
    for (name, code) in [("-INT", 130), ("-TERM", 143)] {
        let mut child = start(&file);
        wait_for_steps(&output, &mut child, first + 5);
        signal(&child, name);
        let ended = child.wait_with_output().unwrap();
        let text = said(&ended);
        assert_eq!(ended.status.code(), Some(code), "{text}");
        for part in ["stopping after this step", "a checkpoint is written", "the same command goes on from there"] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        let kept = checkpoints(&output, "distil");
        let last = at(kept.last().unwrap());
        assert!(last > first, "no checkpoint after {name}");
        first = last;
    }

    // kill -9, in the middle of anything.
    let mut child = start(&file);
    wait_for_steps(&output, &mut child, first + 8);
    signal(&child, "-KILL");
    assert_eq!(child.wait_with_output().unwrap().status.code(), None);
    let kept = checkpoints(&output, "distil");
    assert!(at(kept.last().unwrap()) > first, "no checkpoint after the first stop");

    // And the newest checkpoint is torn: the one before it counts.
    let newest = kept.last().unwrap().with_extension("safetensors");
    let torn = std::fs::read(&newest).unwrap();
    std::fs::write(&newest, &torn[..torn.len() / 2]).unwrap();
    let ended = adam_train(&["distil", file.to_str().unwrap()]);
    let text = said(&ended);
    assert_eq!(ended.status.code(), Some(0), "{text}");
    assert!(
        text.contains("passed over: its checksum does not fit") && !text.contains('\u{1b}'),
        "no colours here: {text}"
    );
    if kept.len() > 1 {
        assert!(text.contains(&format!("goes on from step {}", at(&kept[kept.len() - 2]))), "{text}");
    }
    assert!(bytes(&whole, STUDENT) == bytes(&output, STUDENT), "the student differs");
    assert_eq!(measured(&whole, "distil"), measured(&output, "distil"));
}

#[test]
fn a_loss_that_is_no_number_names_the_queries() {
    let place = Place::new(60);
    let (file, output) = place.run("nan", "");
    go(&file, Stage::Score, false).unwrap();
    // So large a rate throws the weights out of the numbers at the first step.
    let text = std::fs::read_to_string(&file).unwrap().replace("learning_rate = 1e-3", "learning_rate = 1e38");
    let wrong = file.with_file_name("wrong.toml");
    std::fs::write(&wrong, text).unwrap();
    let ended = adam_train(&["distil", wrong.to_str().unwrap()]);
    let text = said(&ended);
    assert_eq!(ended.status.code(), Some(1), "{text}");
    let line = text.lines().find(|line| line.contains("is not a number at step")).unwrap_or_else(|| panic!("{text}"));
    let ids = line.split("(queries ").nth(1).unwrap().split(')').next().unwrap();
    let ids: Vec<&str> = ids.split(", ").collect();
    assert_eq!(ids.len(), 4, "{line}");
    for id in &ids {
        let number: usize = id.strip_prefix('q').unwrap().parse().unwrap();
        assert!(number.is_multiple_of(2) && number < 60, "{id} is a training query");
    }
    assert!(!output.join(STUDENT).exists(), "no student of such a loss");
    // With the rate as it was, the same folder goes on to a student.
    go(&file, Stage::Distil, false).unwrap();
    assert!(output.join(STUDENT).is_file());
}

#[test]
fn what_cannot_be_written_leaves_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    // A folder with something in it cannot be replaced by a file.
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("old"), b"old").unwrap();
    let error = adam_train::files::write_whole(&path, b"new").unwrap_err().to_string();
    assert!(error.contains("state.json"), "{error}");
    assert_eq!(std::fs::read(path.join("old")).unwrap(), b"old");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing half written is left");
    std::fs::remove_dir_all(&path).unwrap();
    adam_train::files::write_whole(&path, b"new").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"new");
}

#[test]
fn checkpoints_of_settings_that_were_given_up_make_room() {
    let place = Place::new(60);
    let (file, output) = place.run("old", "");
    go(&file, Stage::Score, false).unwrap();
    for _ in 0..5 {
        assert!(matches!(go(&file, Stage::Distil, true), Err(TrainError::Interrupted)));
    }
    let names = |found: Vec<PathBuf>| -> Vec<String> {
        found.iter().map(|p| p.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(checkpoints(&output, "distil")), ["state-00000004", "state-00000005"]);
    // Another rate begins anew in the same folder; its first checkpoint must outlive the old ones, whose steps are later.
    let text = std::fs::read_to_string(&file).unwrap().replace("learning_rate = 1e-3", "learning_rate = 5e-4");
    std::fs::write(&file, text).unwrap();
    assert!(matches!(go(&file, Stage::Distil, true), Err(TrainError::Interrupted)));
    assert_eq!(names(checkpoints(&output, "distil")), ["state-00000001"]);
    assert!(matches!(go(&file, Stage::Distil, true), Err(TrainError::Interrupted)));
    assert_eq!(names(checkpoints(&output, "distil")), ["state-00000001", "state-00000002"]);
    // What the given-up settings measured does not count.
    let curves = read_curves(&output).unwrap();
    let loss = &curves[&("distil".to_owned(), "loss".to_owned())];
    assert_eq!(loss.points.iter().map(|p| p.0).collect::<Vec<_>>(), [1.0, 2.0]);
}

#[test]
fn a_model_called_by_another_path_is_the_same_model() {
    let place = Place::new(60);
    let (file, output) = place.run("moved", "");
    go(&file, Stage::Score, false).unwrap();
    assert!(matches!(go(&file, Stage::Distil, true), Err(TrainError::Interrupted)));
    let model = common::tiny_model("bert");
    let (folder, name) = (model.parent().unwrap(), model.file_name().unwrap().to_str().unwrap());
    let other = folder.join("..").join(folder.file_name().unwrap()).join(name);
    let text = std::fs::read_to_string(&file).unwrap();
    let moved = text.replace(&*model.to_string_lossy(), &other.to_string_lossy());
    assert_ne!(text, moved);
    std::fs::write(&file, moved).unwrap();
    assert!(matches!(go(&file, Stage::Distil, true), Err(TrainError::Interrupted)));
    assert_eq!(checkpoints(&output, "distil").len(), 2, "it went on from the first step");
}

#[test]
fn what_is_gone_is_made_again() {
    let place = Place::new(60);
    let (file, output) = place.run("gone", "");
    go(&file, Stage::Distil, false).unwrap();
    let kept = [TEACHER, STUDENT].map(|name| bytes(&output, name));
    std::fs::remove_file(output.join(STUDENT)).unwrap();
    let ended = adam_train(&["distil", file.to_str().unwrap()]);
    let text = said(&ended);
    assert_eq!(ended.status.code(), Some(0), "{text}");
    assert!(text.contains("distil: was done before, but ") && text.contains("model.safetensors is gone"), "{text}");
    assert!(text.contains("teacher: done before") && !text.contains("settings changed"), "{text}");
    assert!(kept == [TEACHER, STUDENT].map(|name| bytes(&output, name)), "the same models");
    // Scores are asked for again, and a stage that is stopped while it is done again has not been done.
    std::fs::remove_file(output.join("scores/scores.bin")).unwrap();
    std::fs::remove_file(output.join(TEACHER)).unwrap();
    assert!(matches!(go(&file, Stage::Teacher, true), Err(TrainError::Interrupted)));
    assert!(!output.join("teacher/stamp.json").exists(), "half made is not made");
    std::fs::remove_file(output.join(STUDENT)).unwrap();
    go(&file, Stage::Distil, false).unwrap();
    assert!(kept == [TEACHER, STUDENT].map(|name| bytes(&output, name)), "the same models");
}

#[test]
fn changed_settings_are_named() {
    let place = Place::new(60);
    let (file, _) = place.run("changed", "");
    go(&file, Stage::Mine, false).unwrap();
    let ended = adam_train(&["mine", file.to_str().unwrap(), "--set", "mine.keep=10", "--set", "distil.epochs=5"]);
    let text = said(&ended);
    assert!(text.contains("settings changed since the last run: distil.epochs 4 -> 5, mine.keep 20 -> 10\n"), "{text}");
    assert!(text.contains("mine: begins"), "{text}");
}

#[test]
fn a_second_run_in_a_folder_is_refused() {
    let place = Place::new(60);
    let (_, file, output) = long_run(&place);
    let mut child = start(&file);
    wait_for_steps(&output, &mut child, 1);
    // So that it does not end before all of this is seen.
    signal(&child, "-STOP");
    for call in [["distil", file.to_str().unwrap()], ["grid", file.to_str().unwrap()]] {
        let ended = adam_train(&call);
        let text = said(&ended);
        assert_eq!(ended.status.code(), Some(1), "{text}");
        let expected = format!("another adam-train is at work in {}", output.display());
        assert!(text.contains(&expected) && !text.contains("data:"), "{text}");
    }
    // Looking is allowed.
    let ended = adam_train(&["check", file.to_str().unwrap()]);
    assert_eq!(ended.status.code(), Some(0), "{}", said(&ended));
    // However it ends, the folder is free.
    signal(&child, "-KILL");
    child.wait().unwrap();
    let ended = adam_train(&["distil", file.to_str().unwrap()]);
    assert_eq!(ended.status.code(), Some(0), "{}", said(&ended));
}

#[test]
fn readers_that_leave_do_no_harm() {
    let place = Place::new(60);
    let (_, file, output) = long_run(&place);
    let mut child = start(&file);
    wait_for_steps(&output, &mut child, 2);
    // As `2>&1 | tee log` and Ctrl-C do it.
    drop((child.stdout.take(), child.stderr.take()));
    signal(&child, "-INT");
    assert_eq!(child.wait().unwrap().code(), Some(130), "as any run that was interrupted");
    assert!(!checkpoints(&output, "distil").is_empty());

    let mut child = Command::new(env!("CARGO_BIN_EXE_adam-train"))
        .arg("config")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", said(&ended));
}

#[test]
fn the_printed_configuration_is_one() {
    let place = Place::new(60);
    let printed = adam_train(&["config"]);
    assert_eq!(printed.status.code(), Some(0), "{}", said(&printed));
    let file = place.folder.path().join("printed.toml");
    std::fs::write(&file, &printed.stdout).unwrap();
    let (data, model) = (place.folder.path().join("data"), common::tiny_model("bert"));
    let work = place.folder.path().join("printed");
    let mut call = vec!["check", file.to_str().unwrap()];
    for (flag, path) in [("--data", &data), ("--model", &model), ("--work", &work)] {
        call.extend([flag, path.to_str().unwrap()]);
    }
    let ended = adam_train(&call);
    assert_eq!(ended.status.code(), Some(0), "{}", said(&ended));
    // Without them it says what is missing.
    let ended = adam_train(&call[..2]);
    assert!(said(&ended).contains("is missing"), "{}", said(&ended));
}
