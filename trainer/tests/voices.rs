//! A teacher of several voices: how it is fused, refused, and gone on with after a stop; queries that nobody labelled.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use adam_train::TrainError;
use adam_train::config::Config;
use adam_train::report::Reporter;
use adam_train::stages::{Pipeline, Stage};
use common::{adam_train, configuration, said, tiny_model, write_data};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::AtomicBool;

struct Run {
    folder: tempfile::TempDir,
}

impl Run {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_data(&folder.path().join("data"), 60);
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs up to distillation in a folder of its own, with settings over the common ones.
    fn distil(&self, name: &str, settings: &[&str]) -> Output {
        let file = self.path(&format!("{name}.toml"));
        std::fs::write(&file, configuration(&self.path("data"), &self.path(name), "")).unwrap();
        let mut call = vec!["distil", file.to_str().unwrap()];
        for setting in settings {
            call.extend(["--set", setting]);
        }
        adam_train(&call)
    }

    fn student(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name).join("distil/model/model.safetensors")).unwrap()
    }
}

const CHEAP: &str = "teacher.voices=[{ kind = \"dense\" }, { kind = \"bm25\" }]";
const BATCH: &str = "loss.list=batch";
const ACCEPT: &str = "teacher.accept_weak=true";

#[test]
fn cheap_voices_teach_over_whole_steps_in_several_rounds() {
    let run = Run::new();
    let rounds = ["rounds.count=2", "rounds.learning_rate=5e-4", "distil.average=0.5", "distil.mix_start=true"];
    let settings = [&[CHEAP, BATCH, ACCEPT, "dark.reinforced=1", "dark.noisy=1"][..], &rounds[..]].concat();
    let ended = run.distil("fused", &settings);
    let text = said(&ended);
    assert_eq!(ended.status.code(), Some(0), "{text}");
    for part in ["dense (student)", "bm25", "teacher (fused)", "its student", "round-2-distil: done"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    assert!(!text.contains("teacher: begins"), "no cross-encoder is trained that does not speak:\n{text}");
    let page = std::fs::read_to_string(run.path("fused").join("report.html")).unwrap();
    assert!(page.contains("voices on 6 held-out queries") && page.contains("<polyline") && page.contains("Settings"));
    assert!(!run.path("fused").join("curves").exists());
    // The same command does nothing again; the same settings elsewhere give the same bytes.
    let again = said(&run.distil("fused", &settings));
    assert!(again.contains("round-2-distil: done before") && !again.contains("begins"), "{again}");
    run.distil("twin", &settings);
    assert!(run.student("fused") == run.student("twin"));
    let second = |name: &str| std::fs::read(run.path(name).join("round-2-distil/model/model.safetensors")).unwrap();
    assert!(second("fused") == second("twin") && second("fused") != run.student("fused"));
}

#[test]
fn a_fused_run_in_steps_of_one_ends_as_one_at_once() {
    let run = Run::new();
    let more = "\n[rounds]\ncount = 2\n\n[loss]\nlist = \"batch\"\n";
    let settings = [CHEAP, "distil.average=0.5", "distil.mix_start=true", "distil.epochs=2"].map(str::to_owned);
    let go = |name: &str, stop: bool| -> Result<(), TrainError> {
        let file = run.path(&format!("{name}.toml"));
        std::fs::write(&file, configuration(&run.path("data"), &run.path(name), more)).unwrap();
        let config = Config::read(&file, &settings).unwrap();
        let (reporter, stop) = (Reporter::silent(), AtomicBool::new(stop));
        Pipeline::open(&config, &reporter, &stop)?.run(Stage::Distil).map(|_| ())
    };
    go("whole", false).unwrap();
    // The flag is up from the start: each call makes one step, or one part of a stage, writes what it has and ends. Encoding and
    // mining keep what they have only when they are done, so every other call may go on to the next step.
    let file = run.path("parts.toml");
    std::fs::write(&file, configuration(&run.path("data"), &run.path("parts"), more)).unwrap();
    let score = Config::read(&file, &settings).unwrap();
    let (reporter, never) = (Reporter::silent(), AtomicBool::new(false));
    Pipeline::open(&score, &reporter, &never).unwrap().run(Stage::Score).unwrap();
    let mut stops = 0;
    while !run.path("parts").join("distil/stamp.json").is_file() {
        assert!(matches!(go("parts", true), Err(TrainError::Interrupted)));
        stops += 1;
        assert!(stops < 60);
    }
    assert!(stops > 5, "{stops}");
    go("parts", false).unwrap();
    for student in ["distil", "round-2-distil"] {
        let bytes = |name: &str| std::fs::read(run.path(name).join(student).join("model/model.safetensors")).unwrap();
        assert!(bytes("whole") == bytes("parts"), "{student} differs after {stops} stops");
    }
}

#[test]
fn a_weak_teacher_is_refused_before_its_scores_are_made() {
    let run = Run::new();
    // Scores that are the opposite of relevance.
    let mut rows = String::new();
    let judged = std::fs::read_to_string(run.path("data/qrels/train.tsv")).unwrap();
    for line in judged.lines().skip(1) {
        let (query, relevant) = line.split_once('\t').unwrap();
        let relevant = relevant.split('\t').next().unwrap();
        for passage in 0..48 {
            let passage = format!("d{passage}");
            let score = if passage == relevant { -9.0 } else { f64::from(passage.len() as u32) };
            rows.push_str(&format!("{{\"query\": \"{query}\", \"passage\": \"{passage}\", \"score\": {score}}}\n"));
        }
    }
    let path = run.path("scores.jsonl");
    std::fs::write(&path, &rows).unwrap();
    let voices = format!("teacher.voices=[{{ kind = \"scores\", path = {path:?}, weight = 1 }}]");
    let dark = ["dark.reinforced=0", "dark.noisy=0"];
    let ended = run.distil("weak", &[&[voices.as_str(), "teacher.accept_weak=false"][..], &dark[..]].concat());
    let text = said(&ended);
    assert_eq!(ended.status.code(), Some(1), "{text}");
    assert!(
        text.contains("the teacher ranks no better than its student") && text.contains("--accept-weak-teacher"),
        "{text}"
    );
    assert!(!run.path("weak").join("distil").exists());
    let accepted = run.distil("weak", &[&[voices.as_str(), ACCEPT][..], &dark[..]].concat());
    assert_eq!(accepted.status.code(), Some(0), "{}", said(&accepted));

    // A pair that the file lacks is named and listed; once it is there, the run goes on.
    let fewer: String = rows.lines().filter(|row| !row.contains("\"d7\"")).map(|row| format!("{row}\n")).collect();
    std::fs::write(&path, &fewer).unwrap();
    let lacking = [&[voices.as_str(), ACCEPT][..], &dark[..]].concat();
    let ended = run.distil("lacking", &lacking);
    let text = said(&ended);
    assert_eq!(ended.status.code(), Some(1), "{text}");
    assert!(text.contains("has no score for the query `") && text.contains("the passage `d7`"), "{text}");
    let wanted = std::fs::read_to_string(run.path("lacking").join("score/wanted.jsonl")).unwrap();
    assert!(wanted.lines().all(|row| row.contains("\"d7\"")) && !wanted.is_empty(), "{wanted}");
    std::fs::write(&path, &rows).unwrap();
    let ended = run.distil("lacking", &lacking);
    assert_eq!(ended.status.code(), Some(0), "{}", said(&ended));
}

#[test]
fn a_command_is_a_voice_and_its_faults_are_named() {
    let run = Run::new();
    // Words that query and passage share, by a program that answers at its end.
    let good = "awk -F'\"' '{n=split($4,w,\" \"); s=0; for(i=1;i<=n;i++) if(index($8,w[i])) s++; print s}'";
    let voices = |script: &str| {
        let script = script.replace('\\', "\\\\").replace('"', "\\\"");
        format!(
            "teacher.voices=[{{ kind = \"command\", command = [\"sh\", \"-c\", \"{script}\"], timeout_seconds = 20 }}]"
        )
    };
    let good = voices(good);
    let ended = run.distil("command", &[&good, ACCEPT]);
    assert_eq!(ended.status.code(), Some(0), "{}", said(&ended));
    let ended = run.distil("dies", &[&voices("head -n 3 > /dev/null; echo 1; echo 2"), ACCEPT]);
    let text = said(&ended);
    assert_eq!(ended.status.code(), Some(1), "{text}");
    assert!(text.contains("ended before it answered pair 3 of") && text.contains("query `q"), "{text}");
    // Another program goes on in the same folder.
    let ended = run.distil("dies", &[&good, ACCEPT]);
    assert_eq!(ended.status.code(), Some(0), "{}", said(&ended));
    assert!(run.student("dies") == run.student("command"));
}

fn write_corpus(path: &Path) {
    let topics = [
        ("crow", "A crow bends a wire to a hook. The crow fishes food with the tool. With the hook a crow lifts food."),
        ("iron", "Iron is in the blood. A lack of iron makes a pale skin. The breath is short with a lack of iron."),
        (
            "aurora",
            "The aurora is a light at the north pole. The sun heats the light. The pole has light in the north.",
        ),
        ("wing", "A wing lifts the body at speed. The body needs speed on water. A wing plan needs lift."),
    ];
    let mut rows = String::new();
    for number in 0..40 {
        let (title, text) = topics[number % topics.len()];
        rows.push_str(&format!(
            "{{\"_id\": \"d{number}\", \"title\": \"{title} body {number}\", \"text\": \"{text} Plan {number} is with the sea.\"}}\n"
        ));
    }
    std::fs::write(path, rows).unwrap();
}

#[test]
fn passages_alone_train_a_student() {
    let folder = tempfile::tempdir().unwrap();
    let (corpus, work) = (folder.path().join("corpus.jsonl"), folder.path().join("work"));
    write_corpus(&corpus);
    let log = folder.path().join("log.tsv");
    std::fs::write(&log, "crow food\t5\niron blood\naurora north light\t2\nCrow  food\t1\n").unwrap();
    let model = tiny_model("bert");
    let log_setting = format!("queries.log={}", log.display());
    let call = [
        "distil",
        "--data",
        corpus.to_str().unwrap(),
        "--work",
        work.to_str().unwrap(),
        "--model",
        model.to_str().unwrap(),
        "--accept-weak-teacher",
        "--set",
        &log_setting,
        "--set",
        "queries.keep_rank=20",
        "--set",
        "mine.dense=false",
    ];
    let ended = adam_train(&call);
    let text = said(&ended);
    assert_eq!(ended.status.code(), Some(0), "{text}");
    assert!(text.contains("queries: ") && text.contains("are used"), "{text}");
    assert!(work.join("distil/model/model.safetensors").is_file(), "{text}");
    // Without a way to queries it says what to do.
    let none = adam_train(&[&call[..], &["--set", "queries.made=0", "--set", "queries.log=no-such-file"]].concat());
    assert_eq!(none.status.code(), Some(1), "{}", said(&none));
    assert!(said(&none).contains("no-such-file"), "{}", said(&none));
}
