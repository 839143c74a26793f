//! Collections that are read, and what an index keeps of them.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::common::{done, run, tiny_model, told, unset};
use crate::{World, hits};

#[test]
fn archives_that_lead_elsewhere_are_refused() {
    let Some(world) = World::new() else { return };
    for name in ["../corpus.jsonl", "/tmp/corpus.jsonl", "a/../../corpus.jsonl"] {
        let path = world.path("bad.zip");
        let line = b"{\"_id\": \"1\", \"title\": \"\", \"text\": \"crow\"}\n";
        std::fs::write(&path, stored_zip(name, line)).unwrap();
        let index = world.path("from-zip");
        let (code, _, err) = run(&["index", "--model", &world.model(), "--data", &path, "--index", &index]);
        assert!(code == 1 && err.contains("leads out of the archive"), "{name}: {code} {err}");
        assert!(!Path::new(&index).exists() && !Path::new(&world.path("corpus.jsonl.1")).exists());
    }
}

/// A zip archive with one stored file, made byte by byte, since writers refuse such names.
fn stored_zip(name: &str, content: &[u8]) -> Vec<u8> {
    let mut crc = u32::MAX;
    for byte in content {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
        }
    }
    let size = u32::try_from(content.len()).unwrap().to_le_bytes();
    let mut shared = vec![20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0];
    shared.extend((!crc).to_le_bytes());
    shared.extend([size, size].concat());
    shared.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
    shared.extend([0, 0]);
    let mut zip = b"PK\x03\x04".to_vec();
    zip.extend(&shared);
    zip.extend(name.as_bytes());
    zip.extend(content);
    let at = u32::try_from(zip.len()).unwrap();
    zip.extend(b"PK\x01\x02\x14\x00");
    zip.extend(&shared);
    zip.extend([0; 14]);
    zip.extend(name.as_bytes());
    let length = u32::try_from(zip.len()).unwrap() - at;
    zip.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
    zip.extend([length.to_le_bytes(), at.to_le_bytes()].concat());
    zip.extend([0, 0]);
    zip
}

#[test]
fn the_archive_that_is_made_here_is_read_when_its_name_is_plain() {
    let Some(world) = World::new() else { return };
    let path = world.path("good.zip");
    let line = b"{\"_id\": \"1\", \"title\": \"\", \"text\": \"crow\"}\n";
    std::fs::write(&path, stored_zip("set/corpus.jsonl", line)).unwrap();
    done(&["index", "--model", &world.model(), "--data", &path, "--index", &world.path("from-zip")]);
}

#[test]
fn documents_are_deleted_without_the_model_and_an_index_says_what_it_is() {
    let Some(world) = World::new() else { return };
    let many = "water ".repeat(40);
    let data = world.write(
        "some.jsonl",
        &format!(
            "{{\"_id\": \"a\", \"text\": \"Iron\", \"metadata\": {{\"year\": 1999}}}}\n\
             {{\"_id\": \"b\", \"text\": \"{many}\", \"metadata\": {{\"year\": 2001, \"lang\": \"en\"}}}}\n\
             {{\"_id\": \"c\", \"text\": \"Light\", \"metadata\": {{\"year\": 2001, \"lang\": \"de\"}}}}\n"
        ),
    );
    for chunks in [&[][..], &["--chunk-tokens", "8"]] {
        let index = world.path(if chunks.is_empty() { "plain" } else { "cut" });
        let model = tiny_model();
        let words = ["index", "--model", model.path().to_str().unwrap(), "--data", &data, "--index", &index];
        done(&[&words[..], chunks].concat());
        drop(model);
        let (_, out, _) = run(&["search", "--index", &index, "--mode", "bm25", "--json", "iron"]);
        assert_eq!(hits(&out)[0]["metadata"]["year"], 1999);

        let info = || serde_json::from_str::<Value>(&run(&["info", "--index", &index, "--json"]).1).unwrap();
        assert_eq!(info()["documents"], 3);
        let (code, out, _) = run(&["info", "--index", &index]);
        assert!(code == 0 && out.contains("metadata") && out.contains("documents  3"), "{out}");

        let delete = |words: &[&str]| run(&[&["delete", "--index", &index], words].concat());
        let (code, _, err) = delete(&[]);
        assert!(code == 2 && err.contains("ids") && err.contains("--filter"), "{code} {err}");
        let (code, _, err) = delete(&["--filter", "year:2001", "--filter", "lang:en"]);
        assert!(code == 0 && err.contains("1 document deleted, 2 left"), "{err}");
        let (code, _, err) = delete(&["a", "nobody"]);
        assert!(code == 0 && err.contains("1 document deleted, 1 left"), "{err}");
        assert_eq!(info()["documents"], 1);
        // Not one chunk of it is left behind.
        let (_, out, _) = run(&["search", "--index", &index, "--mode", "bm25", "--json", "water iron light"]);
        assert_eq!(hits(&out).iter().map(|hit| hit["id"].as_str().unwrap()).collect::<Vec<_>>(), ["c"]);
    }
}

/// `adam index 2>&1 | head -1`: the work is done all the same.
/// Runs `adam` where the folder is mounted read-only, for it alone; none where this machine does not let us.
#[cfg(target_os = "linux")]
fn read_only(folder: &str, words: &[&str]) -> Option<(i32, String, String)> {
    const REFUSED: i32 = 99;
    let mount = format!("mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" || exit {REFUSED}; exec \"$@\"");
    let mut command = unset(Command::new("unshare"));
    command.args(["--map-root-user", "--mount", "sh", "-c", &mount, folder, env!("CARGO_BIN_EXE_adam")]).args(words);
    let (code, out, err) = told(command.output().ok()?);
    (code != REFUSED && !err.starts_with("unshare:")).then_some((code, out, err))
}

#[cfg(target_os = "linux")]
#[test]
fn an_index_is_searched_where_nothing_may_be_written() {
    let Some(world) = World::new() else { return };
    let index = world.index();
    let look = |words: &[&str]| read_only(&index, words);
    let Some((code, out, err)) = look(&["search", "--index", &index, "--json", "crows use wire"]) else {
        println!("skipped: no folder can be mounted read-only here");
        return;
    };
    assert_eq!(code, 0, "{err}");
    assert_eq!(hits(&out), hits(&done(&["search", "--index", &index, "--json", "crows use wire"])));
    let (code, out, err) = look(&["info", "--index", &index]).unwrap();
    assert!(code == 0 && out.contains('6'), "{out} {err}");
    let (code, _, err) = look(&["delete", "--index", &index, "d0"]).unwrap();
    assert!(code == 1 && err.contains("Read-only file system") && err.contains("writing"), "{code} {err}");
    let (code, _, err) = look(&["serve", "--index", &index, "--listen", "127.0.0.1:0"]).unwrap();
    assert!(code == 1 && err.contains("--read-only"), "{code} {err}");
    // A copy without hidden files but the manifest: no lock is there to be taken.
    std::fs::remove_file(Path::new(&index).join(".tantivy-meta.lock")).unwrap();
    let (code, out, err) = look(&["search", "--index", &index, "--json", "crows use wire"]).unwrap();
    assert!(code == 0 && !hits(&out).is_empty(), "{err}");
}

#[test]
fn files_of_an_index_are_equally_open() {
    let Some(world) = World::new() else { return };
    let permissions = |entry: std::fs::DirEntry| (entry.metadata().unwrap().permissions(), entry.file_name());
    let files: Vec<_> = std::fs::read_dir(world.index()).unwrap().map(|entry| permissions(entry.unwrap())).collect();
    let (first, _) = files[0].clone();
    assert!(files.len() > 5 && files.iter().all(|(found, _)| *found == first), "{files:?}");
}

#[test]
fn fields_that_an_index_does_not_keep_are_named() {
    let Some(world) = World::new() else { return };
    let line =
        "{\"_id\": \"a\", \"text\": \"crows\", \"url\": \"u\", \"e\\u001b[2J\": 1, \"metadata\": {\"year\": 1}}\n";
    let data = world.write("fields.jsonl", line);
    let index = world.path("fields");
    let (code, _, err) = run(&["index", "--model", &world.model(), "--data", &data, "--index", &index]);
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("not kept") && err.contains("url (1)") && !err.contains("year"), "{err}");
    assert!(!err.contains('\u{1b}'), "{err:?}");
}
