//! What a new index is begun from: a note in its folder, so that no two indexes become one.

use std::io::ErrorKind;
use std::path::Path;

use crate::chunk::Chunking;
use crate::engine::Engine;
use crate::error::PluginError;
use crate::folder::{Contents, SOURCE_FILE};
use crate::manifest::{Layout, Manifest};

/// Longest path read from it, in bytes.
const MAX_SOURCE: u64 = 1 << 16;

/// Refuses to continue an index that holds documents and was not begun from this one: the two would be mixed.
pub(super) fn check_source(old: &Path, new: &Path) -> Result<(), PluginError> {
    if Contents::of(new)? != Contents::Index {
        return Ok(());
    }
    let note = new.join(SOURCE_FILE);
    let source = match durable::read(&note, MAX_SOURCE) {
        Ok(source) => String::from_utf8_lossy(&source).into_owned(),
        Err(fault) if fault.kind() == ErrorKind::NotFound => String::new(),
        Err(fault) => return Err(PluginError::io("read", note, fault)),
    };
    if source == named(old) || Engine::open(new)?.num_docs() == 0 {
        return Ok(());
    }
    let begun = if source.is_empty() {
        "was not begun from another index".to_owned()
    } else {
        format!("was begun from {source} (if that is this one and has moved, write its path into {})", note.display())
    };
    Err(PluginError::Import {
        path: new.to_path_buf(),
        problem: format!("holds documents and {begun}; name another folder for the new index"),
    })
}

/// Says in the new index where it is read from, unless another import was faster. The caller has the new index's writer.
pub(super) fn begin_from(old: &Path, new: &Path) -> Result<(), PluginError> {
    check_source(old, new)?;
    note_source(old, new)
}

/// Writes down from which index this one is read. The caller holds the lock of the new one's writer.
fn note_source(old: &Path, new: &Path) -> Result<(), PluginError> {
    let note = new.join(SOURCE_FILE);
    durable::replace(&note, named(old).as_bytes()).map_err(|fault| PluginError::io("write", note, fault))
}

/// The name of an index from wherever it is called.
fn named(path: &Path) -> String {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf()).to_string_lossy().into_owned()
}

/// Refuses to continue an index that was begun with other options: it would keep its own layout.
pub(super) fn check_layout(new: &Path, wanted: &Layout) -> Result<(), PluginError> {
    if Contents::of(new)? != Contents::Index {
        return Ok(());
    }
    let Some(manifest) = Manifest::read(new)? else { return Ok(()) };
    let there = manifest.layout;
    if there == *wanted {
        return Ok(());
    }
    Err(PluginError::Import {
        path: new.to_path_buf(),
        problem: format!(
            "was begun with {}, and now it is to be made with {}; continue with the first options, or name another folder for the new index",
            described(&there),
            described(wanted)
        ),
    })
}

/// What of a layout the caller chose.
fn described(layout: &Layout) -> String {
    let chunks = match layout.chunks {
        Some(Chunking { tokens, overlap }) => format!("chunks of {tokens} tokens that overlap by {overlap}"),
        None => "no chunks".to_owned(),
    };
    format!(
        "the fields `{}`, the key `{}`, {chunks} and the template `{}`",
        layout.searched.join("`, `"),
        layout.key,
        layout.template
    )
}

/// Refuses to write an index over the one it is read from.
pub(super) fn check_destination(old: &Path, new: &Path) -> Result<(), PluginError> {
    match (old.canonicalize(), new.canonicalize()) {
        (Ok(from), Ok(to)) if from == to => Err(PluginError::Import {
            path: old.to_path_buf(),
            problem: "cannot be read and written at once; name another folder for the new index".to_owned(),
        }),
        _ => Ok(()),
    }
}
