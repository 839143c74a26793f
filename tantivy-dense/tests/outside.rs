//! A crate of somebody else's, outside the workspace, that adds this one with its default features: it must need nothing but
//! Rust's own tools and a C compiler, and run.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, reason = "a test")]

use std::path::Path;
use std::process::{Command, Output};

const MAIN: &str = r#"
use tantivy::schema::Schema;
use tantivy::TantivyDocument;
use tantivy_dense::{Dense, DenseError, KnnQuery, VectorField, VectorOptions};

fn main() -> Result<(), DenseError> {
    let mut schema = Schema::builder();
    let vector = VectorField::add_to(&mut schema, "vector", VectorOptions::cosine(2))?;
    let dense = Dense::new();
    let index = dense.index_builder().schema(schema.build()).create_in_ram()?;
    let mut writer = dense.writer(&index, 15_000_000)?;
    for values in [[0.0, 1.0], [1.0, 0.0]] {
        let mut document = TantivyDocument::new();
        vector.add(&mut document, &values)?;
        writer.add_document(document)?;
    }
    writer.commit()?;
    let searcher = dense.reader(&index)?.searcher();
    let hits = KnnQuery::new(&dense, vector, vec![0.9, 0.1], 1).search(&searcher)?;
    println!("found document {}", hits[0].address.doc_id);
    Ok(())
}
"#;

fn cargo(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into()));
    command.current_dir(folder).args(arguments).arg("--offline");
    // Kept from one run to the next, since the dependencies take a minute.
    command.env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("outside"));
    command.env("CARGO_PROFILE_DEV_DEBUG", "0");
    command.output().unwrap()
}

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

#[test]
fn a_crate_outside_the_workspace_builds_and_runs_without_a_native_library() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("src")).unwrap();
    std::fs::write(folder.path().join("src/main.rs"), MAIN).unwrap();
    let manifest = format!(
        "[package]\nname = \"outside\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\ntantivy = \"0.27\"\n\
         tantivy-dense = {{ path = {:?} }}\n\n[workspace]\n",
        here.display().to_string()
    );
    std::fs::write(folder.path().join("Cargo.toml"), manifest).unwrap();
    // The same versions as here, so that everything is on this machine already.
    std::fs::copy(here.join("../Cargo.lock"), folder.path().join("Cargo.lock")).unwrap();

    let tree = cargo(folder.path(), &["tree", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"]);
    let listed = tree.status.success();
    if listed {
        let tree = text(&tree.stdout);
        assert!(tree.contains("tantivy-dense"), "{tree}");
        for native in ["faiss", "cmake", "openblas", "blas-src", "lapack", "ort-sys", "torch", "bindgen"] {
            let found = tree.lines().find(|line| line.split(' ').next().is_some_and(|name| name.contains(native)));
            assert_eq!(found, None, "the default features need {native}");
        }
    } else {
        println!("what it depends on is not looked at, cargo cannot list it here: {}", text(&tree.stderr).trim());
    }

    let run = cargo(folder.path(), &["run", "--quiet"]);
    let said = text(&run.stderr);
    // Without a network, cargo knows only the crates that the workspace has fetched. Mostly they suffice for a build though not
    // for the list; where they do not, cargo says that it may not fetch more, and has compiled nothing.
    if !listed && !run.status.success() && said.contains("--offline") && !said.contains("could not compile") {
        println!("skipped: cargo cannot resolve a crate outside the workspace here: {}", said.trim());
        return;
    }
    assert!(run.status.success(), "{said}");
    assert_eq!(text(&run.stdout).trim(), "found document 1");
}
