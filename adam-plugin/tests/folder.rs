//! The folder of an index: begun and interrupted, held by one writer, replaced while it is in use.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;
use std::sync::Arc;

use adam_plugin::engine::Document;
use adam_plugin::import::{ReembedOptions, reembed};
use adam_plugin::{Engine, MANIFEST_FILE, Manifest, Mode, PluginError, SearchRequest, WriterSettings};
use common::Words;
use tempfile::TempDir;

const MEMORY: usize = 15_000_000;
const WRITER_LOCK: &str = ".tantivy-writer.lock";

fn open(index: &Path, model: &str) -> Result<Engine, PluginError> {
    let encoder = Arc::new(Words::of(48, model));
    let pinned = encoder.pinned();
    Engine::builder(index).encoder(encoder).pinned(pinned).open_or_create()
}

fn add(engine: &Engine, ids: &[&str]) -> Result<(), PluginError> {
    let mut writer = engine.writer(MEMORY, WriterSettings::default())?;
    for id in ids {
        let document = Document { id: (*id).to_owned(), text: format!("everyone {id}"), ..Document::default() };
        writer.update_document(engine.document(document)?)?;
    }
    writer.commit()?;
    writer.wait_merging_threads()
}

fn ids(engine: &Engine, mode: Mode) -> Result<Vec<String>, PluginError> {
    let request = SearchRequest::new("everyone").mode(mode).top(100);
    let mut ids: Vec<String> = engine.search(&request)?.hits.into_iter().map(|hit| hit.id).collect();
    ids.sort();
    Ok(ids)
}

fn said<T>(result: Result<T, PluginError>) -> String {
    result.err().unwrap().to_string()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// A folder as a run leaves it that was killed while it made the index, at each of its steps.
fn interrupted(steps: usize) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let index = home.path().join("index");
    let whole = home.path().join("whole");
    drop(open(&whole, "words 1").unwrap());
    std::fs::create_dir(&index).unwrap();
    let files = [WRITER_LOCK, ".tmpAb3dE6", MANIFEST_FILE, ".managed.json"];
    for name in &files[..steps] {
        match std::fs::copy(whole.join(name), index.join(name)) {
            Ok(_) => {}
            Err(_) => std::fs::write(index.join(name), "half").unwrap(),
        }
    }
    home
}

#[test]
fn a_first_run_that_was_killed_goes_on() {
    for steps in 0..=4 {
        let home = interrupted(steps);
        let index = home.path().join("index");
        assert!(!Engine::exists(&index).unwrap());
        let refused = said(Engine::open(&index));
        if steps > 2 {
            assert!(refused.contains("interrupted before anything was committed"), "{refused}");
        } else {
            assert!(refused.contains("it holds no .adam.json"), "{refused}");
        }
        let engine = open(&index, "words 1").unwrap();
        add(&engine, &["a"]).unwrap();
        engine.reload().unwrap();
        assert_eq!(ids(&engine, Mode::Hybrid).unwrap(), ["a"]);
        assert!(!index.join(".tmpAb3dE6").exists());

        let home = interrupted(steps);
        // Nothing was committed, so another model may be taken.
        open(&home.path().join("index"), "words 2").unwrap();

        let home = interrupted(steps);
        let (old, new) = (home.path().join("old"), home.path().join("index"));
        add(&open(&old, "words 1").unwrap(), &["a", "b"]).unwrap();
        let encoder = Arc::new(Words::of(48, "words 1"));
        let pinned = encoder.pinned();
        let options = ReembedOptions::default().commit_every(1).memory(MEMORY);
        let made = reembed(&old, &new, encoder, pinned, &options, WriterSettings::default()).unwrap();
        assert_eq!(made.num_docs, 2);
    }
}

#[test]
fn segments_without_their_list_are_not_begun_anew() {
    let home = tempfile::tempdir().unwrap();
    let index = home.path().join("index");
    add(&open(&index, "words 1").unwrap(), &["a"]).unwrap();
    let files = std::fs::read_dir(&index).unwrap().count();
    std::fs::remove_file(index.join("meta.json")).unwrap();
    for refused in [said(open(&index, "words 1")), said(Engine::open(&index))] {
        assert!(refused.contains("holds segments and no meta.json"), "{refused}");
    }
    assert_eq!(std::fs::read_dir(&index).unwrap().count(), files - 1);
}

#[test]
fn an_index_is_removed_only_by_who_made_it() {
    let home = tempfile::tempdir().unwrap();
    let index = home.path().join("index");
    let first = open(&index, "words 1").unwrap();
    let second = open(&index, "words 1").unwrap();
    let writing = first.writer(MEMORY, WriterSettings::default()).unwrap();
    let refused = said(second.writer(MEMORY, WriterSettings::default()));
    assert!(refused.contains("another writer of this process"), "{refused}");
    assert!(!second.remove_if_new().unwrap());
    // Not while somebody writes, whoever made it.
    assert!(matches!(first.remove_if_new(), Err(PluginError::Locked { .. })));
    assert!(index.exists());
    drop(writing);
    assert!(first.remove_if_new().unwrap());
    assert!(!index.exists());

    // Not where another has committed to it meanwhile.
    let first = open(&index, "words 1").unwrap();
    add(&open(&index, "words 1").unwrap(), &["a"]).unwrap();
    assert!(!first.remove_if_new().unwrap());
    assert_eq!(Engine::open(&index).unwrap().num_docs(), 1);

    // A folder that was there stays.
    let empty = home.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    assert!(open(&empty, "words 1").unwrap().remove_if_new().unwrap());
    assert_eq!(std::fs::read_dir(&empty).unwrap().count(), 0);
}

#[test]
fn a_first_run_waits_for_nobody_and_overwrites_nothing() {
    let home = tempfile::tempdir().unwrap();
    let index = home.path().join("index");
    std::fs::create_dir(&index).unwrap();
    let lock = std::fs::File::create(index.join(WRITER_LOCK)).unwrap();
    lock.lock().unwrap();
    assert!(matches!(open(&index, "words 1"), Err(PluginError::Locked { .. })));
    assert!(!index.join(MANIFEST_FILE).exists());
    drop(lock);
    // Many at once: each finds the one index, whoever made it.
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..8).map(|_| scope.spawn(|| open(&index, "words 1"))).collect();
        for run in runs {
            match run.join().unwrap() {
                Ok(_) | Err(PluginError::Locked { .. }) => {}
                Err(fault) => panic!("{fault}"),
            }
        }
    });
    add(&open(&index, "words 1").unwrap(), &["a"]).unwrap();
}

/// An index of this model under another name, to be put in the place of one in use.
fn other(home: &Path, model: &str) -> std::path::PathBuf {
    let other = home.join("other");
    add(&open(&other, model).unwrap(), &["x", "y"]).unwrap();
    other
}

#[test]
fn a_reader_follows_an_index_of_the_same_model_and_no_other() {
    for (model, follows) in [("words 1", true), ("words 2", false)] {
        let home = tempfile::tempdir().unwrap();
        let (index, away) = (home.path().join("index"), home.path().join("away"));
        let writer = open(&index, "words 1").unwrap();
        add(&writer, &["a"]).unwrap();
        let engine = Engine::open(&index).unwrap().with_encoder(Arc::new(Words::of(48, "words 1"))).unwrap();
        let other = other(home.path(), model);
        std::fs::rename(&index, &away).unwrap();
        for refused in [said(ids(&engine, Mode::Dense)), said(engine.get("a")), said(engine.reload())] {
            assert!(refused.contains("moved or deleted"), "{refused}");
        }
        std::fs::rename(&other, &index).unwrap();
        if follows {
            assert_eq!(ids(&engine, Mode::Dense).unwrap(), ["x", "y"]);
            assert_eq!(ids(&engine, Mode::Bm25).unwrap(), ["x", "y"]);
            // What this one wrote is not there.
            assert!(matches!(writer.check_folder(), Err(PluginError::FolderChanged { .. })));
        } else {
            for mode in [Mode::Dense, Mode::Bm25, Mode::Hybrid] {
                let refused = said(ids(&engine, mode));
                assert!(refused.contains("another folder was put in its place"), "{refused}");
            }
            assert!(matches!(engine.check_folder(), Err(PluginError::FolderChanged { .. })));
        }
        // Put back, it is the index again.
        std::fs::rename(&index, home.path().join("other")).unwrap();
        std::fs::rename(&away, &index).unwrap();
        assert_eq!(ids(&engine, Mode::Dense).unwrap(), ["a"]);
    }
}

#[test]
fn a_manifest_that_is_written_over_stops_searches() {
    let home = tempfile::tempdir().unwrap();
    let index = home.path().join("index");
    let engine = open(&index, "words 1").unwrap();
    add(&engine, &["a"]).unwrap();
    engine.reload().unwrap();
    let other = other(home.path(), "words 2");
    // As `cp other/* index/` does.
    for entry in std::fs::read_dir(&other).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, index.join(path.file_name().unwrap())).unwrap();
    }
    for mode in [Mode::Dense, Mode::Bm25] {
        let refused = said(ids(&engine, mode));
        assert!(refused.contains("names another model"), "{refused}");
    }
}

#[test]
fn a_writer_does_not_touch_a_folder_that_took_the_place_of_its_own() {
    let home = tempfile::tempdir().unwrap();
    let (index, away) = (home.path().join("index"), home.path().join("away"));
    let engine = open(&index, "words 1").unwrap();
    add(&engine, &["a"]).unwrap();
    let other = other(home.path(), "words 1");
    let mut writer = engine.writer(MEMORY, WriterSettings::default()).unwrap();
    let document = |id: &str| Document { id: id.to_owned(), text: "everyone".to_owned(), ..Document::default() };
    writer.update_document(engine.document(document("b")).unwrap()).unwrap();
    std::fs::rename(&index, &away).unwrap();
    std::fs::rename(&other, &index).unwrap();
    let refused = said(writer.commit());
    assert!(refused.contains("another folder was put in its place"), "{refused}");
    // A server goes back to its last commit then.
    let _ = writer.rollback();
    let here = Engine::open(&index).unwrap();
    assert_eq!(ids(&here, Mode::Bm25).unwrap(), ["x", "y"]);
    assert_eq!(ids(&Engine::open(&away).unwrap(), Mode::Bm25).unwrap(), ["a"]);
    // With its own folder back, it does not write the other's segments there.
    std::fs::rename(&index, &other).unwrap();
    std::fs::rename(&away, &index).unwrap();
    let _ = writer.update_document(engine.document(document("c")).unwrap());
    let _ = writer.commit();
    drop(writer);
    let after = Engine::open(&index).unwrap();
    let found = ids(&after, Mode::Bm25).unwrap();
    assert!(found.contains(&"a".to_owned()) && !found.contains(&"x".to_owned()), "{found:?}");
}

#[test]
fn a_writer_whose_lock_is_deleted_undoes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let index = home.path().join("index");
    let engine = open(&index, "words 1").unwrap();
    add(&engine, &["a"]).unwrap();
    let mut writer = engine.writer(MEMORY, WriterSettings::default()).unwrap();
    std::fs::remove_file(index.join(WRITER_LOCK)).unwrap();
    add(&open(&index, "words 1").unwrap(), &["of the other"]).unwrap();
    let document = Document { id: "b".to_owned(), text: "everyone".to_owned(), ..Document::default() };
    writer.update_document(engine.document(document).unwrap()).unwrap();
    let refused = said(writer.commit());
    assert!(refused.contains("the lock of its writer was deleted or replaced"), "{refused}");
    assert!(said(ids(&engine, Mode::Bm25)).contains("the lock of its writer"));
    // After going back it may be replaced by a fresh writer, with a lock of its own, which begins at what the other committed.
    let _ = writer.rollback();
    let _ = writer.commit();
    drop(writer);
    assert_eq!(ids(&Engine::open(&index).unwrap(), Mode::Bm25).unwrap(), ["a", "of the other"]);
}

#[test]
fn a_link_to_an_index_is_one() {
    let home = tempfile::tempdir().unwrap();
    let (first, second, link) = (home.path().join("first"), home.path().join("second"), home.path().join("current"));
    add(&open(&first, "words 1").unwrap(), &["a"]).unwrap();
    copy(&other(home.path(), "words 2"), &second);
    std::os::unix::fs::symlink(&first, &link).unwrap();
    let engine = open(&link, "words 1").unwrap();
    assert_eq!(ids(&engine, Mode::Dense).unwrap(), ["a"]);
    // Where the link leads later is another index; the one that was opened is still there.
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(&second, &link).unwrap();
    assert_eq!(ids(&engine, Mode::Dense).unwrap(), ["a"]);
    add(&engine, &["b"]).unwrap();
    assert_eq!(ids(&Engine::open(&first).unwrap(), Mode::Bm25).unwrap(), ["a", "b"]);
    assert_eq!(Manifest::read(&link).unwrap().unwrap().model.fingerprint, "words 2");
}
