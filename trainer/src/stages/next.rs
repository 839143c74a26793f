//! What a run says at its end: where the student lies, and what to do with it.

use std::path::Path;

/// The student's folder and the command that indexes a collection with it; the one at hand, where there is one.
pub(crate) fn next_command(student: &Path, collection: Option<&Path>, index: &Path) -> String {
    let student = shell_word(student);
    let collection = collection.map_or("COLLECTION".to_owned(), shell_word);
    format!("student: {student}; next: adam index --model {student} --data {collection} --index {}", shell_word(index))
}

/// A path as a shell takes it.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:,@%".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_can_be_pasted() {
        let command = |collection| next_command("my runs/student".as_ref(), collection, "it's".as_ref());
        assert_eq!(
            command(Some("d.zip".as_ref())),
            r"student: 'my runs/student'; next: adam index --model 'my runs/student' --data d.zip --index 'it'\''s'"
        );
        assert!(command(None).contains("--data COLLECTION "));
    }
}
