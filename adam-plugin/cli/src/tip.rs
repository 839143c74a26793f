//! What a user of the command line can do about an error of the library, which knows no options.

use adam_plugin::PluginError;
use adam_plugin::tantivy::TantivyError;
use adam_server::ServeError;

/// An option or a command that helps, if there is one.
pub(crate) fn tip(error: &anyhow::Error) -> Option<&'static str> {
    let fault = error.chain().find_map(|cause| match cause.downcast_ref() {
        Some(ServeError::Engine(fault)) => Some(fault),
        _ => cause.downcast_ref(),
    });
    match fault? {
        PluginError::OtherModel { .. } => Some("`adam reembed` makes an index with the vectors of another model"),
        PluginError::Sharded { .. } => Some(
            "`adam index` and `adam delete` write to each shard what belongs there; `adam shard` makes all of them again beside the old ones",
        ),
        PluginError::Damaged { .. } => Some("`adam check INDEX` reads all files and names every one that is damaged"),
        // tantivy tells of damage in many ways, and seldom names the file.
        PluginError::Tantivy(fault) if is_of_system(&fault.to_string()) => None,
        PluginError::Tantivy(
            TantivyError::DataCorruption(_)
            | TantivyError::DeserializeError(_)
            | TantivyError::InternalError(_)
            | TantivyError::IoError(_),
        ) => Some("`adam check INDEX` says whether a file is damaged, and which"),
        PluginError::ModelMoved { .. } => Some("--model FOLDER says where the model is now"),
        _ => None,
    }
}

/// Whether the operating system has said why: a full disk, rights, too many open files. Error 5 is left out, which a damaged disk gives.
fn is_of_system(said: &str) -> bool {
    said.contains("(os error ") && !said.contains("(os error 5)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_not_damage() {
        let tip_for = |said: &str| {
            let fault = TantivyError::InternalError(format!("cannot write i/x.store: {said}"));
            tip(&anyhow::Error::new(PluginError::Tantivy(fault)))
        };
        assert_eq!(tip_for("No space left on device (os error 28)"), None);
        assert!(tip_for("Input/output error (os error 5)").is_some_and(|tip| tip.contains("adam check")));
        assert!(tip_for("the block is too short").is_some_and(|tip| tip.contains("adam check")));
    }
}
