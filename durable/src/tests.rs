use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use super::*;

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("file");
    replace(&path, b"one").unwrap();
    replace(&path, b"two").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"two");
    let failed = replace_with(&path, |out| {
        out.write_all(b"half")?;
        Err(io::Error::other("stopped"))
    });
    assert_eq!(failed.unwrap_err().to_string(), "stopped");
    assert_eq!(fs::read(&path).unwrap(), b"two");
    assert_eq!(names(home.path()), ["file"]);
}

#[test]
fn a_file_is_never_more_closed_than_other_new_files() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("usual"), "").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    let path = home.path().join("file");
    replace_with(&path, |out| {
        // Already while it is written.
        assert_eq!(out.get_ref().metadata()?.permissions().mode(), mode(&home.path().join("usual")));
        Ok(())
    })
    .unwrap();
    assert_eq!(mode(&path), mode(&home.path().join("usual")));
}

#[test]
fn file_systems_without_a_sync_of_folders_are_no_error() {
    // fsync of a folder in /proc answers EINVAL, as that of some network file systems does.
    assert!(File::open("/proc").unwrap().sync_all().is_err());
    sync_folder(Path::new("/proc")).unwrap();
    assert!(sync_folder(Path::new("/nowhere/at/all")).is_err());
}

#[test]
fn folders_are_made_with_those_above() {
    let home = tempfile::tempdir().unwrap();
    let deep = home.path().join("a/b/c");
    create_folders(&deep).unwrap();
    create_folders(&deep).unwrap();
    assert!(deep.is_dir());
    fs::write(home.path().join("file"), "").unwrap();
    assert!(create_folders(home.path().join("file/below")).is_err());
}

#[test]
fn outputs_keep_links_and_do_not_replace_pipes() {
    let home = tempfile::tempdir().unwrap();
    let (target, link) = (home.path().join("target"), home.path().join("link"));
    fs::write(&target, "old").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    write_output(&link, |out| out.write_all(b"new")).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read(&target).unwrap(), b"new");

    let pipe = home.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let inode = fs::metadata(&pipe).unwrap().ino();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| fs::read(&pipe).unwrap());
        write_output(&pipe, |out| out.write_all(b"through")).unwrap();
        assert_eq!(reader.join().unwrap(), b"through");
    });
    assert_eq!(fs::metadata(&pipe).unwrap().ino(), inode);
    // A name without a folder is one of the folder the process is in.
    assert_eq!(parent(Path::new("name")), Path::new("."));
}

#[test]
fn only_regular_files_of_a_bounded_length_are_read() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("file");
    fs::write(&path, "12345").unwrap();
    assert_eq!(read(&path, 5).unwrap(), b"12345");
    assert_eq!(read(&path, 4).unwrap_err().kind(), ErrorKind::FileTooLarge);
    let link = home.path().join("endless");
    std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
    for special in [link.as_path(), home.path()] {
        assert!(read(special, 1 << 20).unwrap_err().to_string().contains("not a regular file"));
    }
    // A length that the file system does not know.
    assert!(!read(Path::new("/proc/self/status"), 1 << 20).unwrap().is_empty());
}

#[test]
fn only_its_own_unfinished_files_are_removed() {
    let home = tempfile::tempdir().unwrap();
    for name in [".tmpAb3dE6", ".tmp", ".tmplonger7", "notes.tmp", ".tmp-notes", "meta.json"] {
        fs::write(home.path().join(name), "").unwrap();
    }
    fs::create_dir(home.path().join(".tmpfolder")).unwrap();
    fs::create_dir(home.path().join(".tmpfolde")).unwrap();
    assert_eq!(remove_leftovers(home.path()).unwrap(), 1);
    assert_eq!(
        names(home.path()),
        [".tmp", ".tmp-notes", ".tmpfolde", ".tmpfolder", ".tmplonger7", "meta.json", "notes.tmp"]
    );
}
