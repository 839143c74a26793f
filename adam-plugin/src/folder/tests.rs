use std::time::Duration;

use super::*;
use crate::manifest::tests::manifest;

fn folder() -> (tempfile::TempDir, IndexFolder) {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("index")).unwrap();
    let folder = IndexFolder::open(&home.path().join("index")).unwrap();
    (home, folder)
}

fn said<T>(result: Result<T, PluginError>) -> String {
    result.err().unwrap().to_string()
}

#[test]
fn reading_waits_for_who_deletes_and_not_for_who_reads() {
    let (_home, folder) = folder();
    // Nothing to wait for.
    drop(folder.lock_for_reading(&META_LOCK).unwrap());
    let writing = folder.acquire_lock(&META_LOCK).unwrap();
    let (taken, when) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let one = folder.lock_for_reading(&META_LOCK).unwrap();
            let other = folder.lock_for_reading(&META_LOCK).unwrap();
            taken.send(()).unwrap();
            drop((one, other));
        });
        assert!(when.recv_timeout(Duration::from_millis(100)).is_err());
        drop(writing);
        when.recv_timeout(Duration::from_secs(60)).unwrap();
    });
}

#[test]
fn whole_files_are_as_open_as_others() {
    let (_home, folder) = folder();
    std::fs::write(folder.path().join("usual"), "").unwrap();
    folder.write_manifest(&manifest()).unwrap();
    folder.atomic_write(Path::new(META), b"{}").unwrap();
    folder.atomic_write(Path::new(FILE_LIST), b"[]").unwrap();
    let open = |name: &str| std::fs::metadata(folder.path().join(name)).unwrap().permissions();
    for name in [META, FILE_LIST, MANIFEST_FILE] {
        assert_eq!(open(name), open("usual"), "{name}");
    }
}

#[test]
fn there_is_one_writer_and_who_is_refused_hears_which() {
    let (_home, folder) = folder();
    let held = folder.lock().unwrap();
    // Within a process, too, and by another way to the same folder.
    let other = IndexFolder::open(folder.path()).unwrap();
    assert!(said(other.lock()).contains("another writer of this process"));
    std::fs::write(folder.path().join(&INDEX_WRITER_LOCK.filepath), "process 1\n").unwrap();
    assert!(said(other.lock()).contains("(process 1)"));
    // Numbers that no process has, and what other programs leave.
    for holder in ["process 4194999\n", "", "process x", "\u{fffd}"] {
        std::fs::write(folder.path().join(&INDEX_WRITER_LOCK.filepath), holder).unwrap();
        assert!(said(other.lock()).contains("by another program or writer;"), "{holder}");
    }
    drop(held);
    drop(other.lock().unwrap());
    assert_eq!(std::fs::read(folder.path().join(&INDEX_WRITER_LOCK.filepath)).unwrap(), b"");
}

#[test]
fn a_lock_that_leads_elsewhere_is_refused() {
    let (home, folder) = folder();
    let victim = home.path().join("victim");
    std::fs::write(&victim, "precious").unwrap();
    std::os::unix::fs::symlink(&victim, folder.path().join(&INDEX_WRITER_LOCK.filepath)).unwrap();
    assert!(said(folder.lock()).contains("not a regular file"));
    assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
}

#[test]
fn a_writer_removes_what_a_killed_one_left() {
    let (_home, folder) = folder();
    for name in [".tmpAb3dE6", ".adam.json.tmp", ".adam-source.tmp", "notes.tmp"] {
        std::fs::write(folder.path().join(name), "").unwrap();
    }
    drop(folder.lock().unwrap());
    let mut left: Vec<_> = folder.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, [".tantivy-writer.lock", "notes.tmp"]);
}

#[test]
fn a_folder_that_is_replaced_is_neither_written_to_nor_cleaned() {
    let (home, folder) = folder();
    folder.write_manifest(&manifest()).unwrap();
    let _held = folder.lock().unwrap();
    let (place, away) = (home.path().join("index"), home.path().join("away"));
    let segment = Path::new("0123456789abcdef0123456789abcdef.store");
    let refused = |why: &str| {
        let checked = said(folder.check());
        assert!(checked.contains(why), "{checked}");
        for fault in [
            folder.atomic_write(Path::new(META), b"{}").unwrap_err().to_string(),
            folder.open_write(segment).err().unwrap().to_string(),
            folder.delete(segment).unwrap_err().to_string(),
        ] {
            assert!(fault.contains(why), "{fault}");
        }
        assert!(matches!(
            PluginError::from(TantivyError::from(folder.atomic_write(Path::new(META), b"{}").unwrap_err())),
            PluginError::FolderChanged { .. }
        ));
        assert!(folder.acquire_lock(&META_LOCK).is_err());
    };
    std::fs::rename(&place, &away).unwrap();
    refused("moved or deleted");
    std::fs::create_dir(&place).unwrap();
    std::fs::write(place.join(segment), "of another index").unwrap();
    refused("another folder was put in its place");
    assert_eq!(place.read_dir().unwrap().count(), 1);
    // Put back, all is as before.
    std::fs::remove_dir_all(&place).unwrap();
    std::fs::rename(&away, &place).unwrap();
    folder.check().unwrap();
    folder.atomic_write(Path::new(META), b"{}").unwrap();
}

#[test]
fn a_lock_that_is_gone_stops_its_writer() {
    for replaced in [false, true] {
        let (_home, folder) = folder();
        folder.atomic_write(Path::new(META), b"one").unwrap();
        let held = folder.lock().unwrap();
        let path = folder.path().join(&INDEX_WRITER_LOCK.filepath);
        std::fs::remove_file(&path).unwrap();
        let other = IndexFolder::open(folder.path()).unwrap();
        let others = replaced.then(|| other.lock().unwrap());
        let fault = folder.atomic_write(Path::new(META), b"two").unwrap_err().to_string();
        assert!(fault.contains("the lock of its writer was deleted or replaced"), "{fault}");
        assert_eq!(std::fs::read(folder.path().join(META)).unwrap(), b"one");
        drop((held, others));
    }
}

#[test]
fn segments_that_somebody_else_wrote_are_not_written_over() {
    let (_home, folder) = folder();
    folder.atomic_write(Path::new(META), b"one").unwrap();
    let _held = folder.lock().unwrap();
    folder.atomic_write(Path::new(META), b"two").unwrap();
    std::fs::write(folder.path().join(META), "restored").unwrap();
    let fault = folder.atomic_write(Path::new(META), b"three").unwrap_err().to_string();
    assert!(fault.contains("written or deleted by another program"), "{fault}");
    assert_eq!(std::fs::read(folder.path().join(META)).unwrap(), b"restored");
    std::fs::remove_file(folder.path().join(META)).unwrap();
    assert!(folder.atomic_write(Path::new(META), b"three").is_err());
}

#[test]
fn another_manifest_is_noticed_and_the_same_one_is_not() {
    let (_home, folder) = folder();
    folder.write_manifest(&manifest()).unwrap();
    folder.check().unwrap();
    let mut moved = manifest();
    moved.model.folder = Some("elsewhere".into());
    moved.write(folder.path()).unwrap();
    folder.check().unwrap();
    assert_eq!(folder.manifest().unwrap().model.folder, Some("elsewhere".into()));
    let mut other = manifest();
    other.model.fingerprint = "another".to_owned();
    other.write(folder.path()).unwrap();
    assert!(said(folder.check()).contains("names another model"));
    std::fs::write(folder.path().join(MANIFEST_FILE), "damaged").unwrap();
    assert!(folder.check().is_err());
    std::fs::remove_file(folder.path().join(MANIFEST_FILE)).unwrap();
    assert!(said(folder.check()).contains("was deleted"));
    manifest().write(folder.path()).unwrap();
    folder.check().unwrap();
}

#[test]
fn a_folder_that_is_being_removed_gets_no_more_files() {
    let (home, folder) = folder();
    folder.write_manifest(&manifest()).unwrap();
    let held = folder.lock().unwrap();
    let segment = Path::new("0123456789abcdef0123456789abcdef.store");
    // A file that a thread of an ended writer has open still.
    let open = folder.open_write(segment).unwrap();
    folder.remove(true).unwrap();
    assert!(!home.path().join("index").exists());
    assert!(folder.open_write(segment).is_err());
    assert!(folder.atomic_write(Path::new(META), b"{}").is_err());
    drop((open, held));

    // What somebody else put there stays.
    let (home, folder) = self::folder();
    folder.write_manifest(&manifest()).unwrap();
    std::fs::write(home.path().join("index/notes.txt"), "").unwrap();
    let _held = folder.lock().unwrap();
    folder.remove(true).unwrap();
    assert_eq!(home.path().join("index").read_dir().unwrap().count(), 1);
}
