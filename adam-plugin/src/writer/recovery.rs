//! Commits and rollbacks: with tantivy's writer, or with a fresh one if that is broken.

use std::time::{Duration, Instant};

use tantivy::{IndexWriter, Opstamp};

use super::worker::Worker;
use crate::error::PluginError;

/// After a writer could neither go back nor be opened anew, that is not tried again for this long.
const PAUSE: Duration = Duration::from_millis(100);

impl Worker {
    pub(super) fn commit(&mut self) -> Result<Opstamp, PluginError> {
        if let Some(error) = self.stopped_error() {
            return Err(error);
        }
        let Self { writer, committed, .. } = self;
        let done = PluginError::guarded("the commit", || {
            let opstamp = writer.as_mut().ok_or(PluginError::WriterGone)?.commit()?;
            if let Some(committed) = committed {
                committed.reload()?;
            }
            Ok(opstamp)
        });
        done.map_err(|error| self.stop(error))
    }

    pub(super) fn rollback(&mut self) -> Result<Opstamp, PluginError> {
        if self.failed.is_some_and(|at| at.elapsed() < PAUSE)
            && let Some(error) = self.stopped_error()
        {
            return Err(error);
        }
        let done = self.go_back().map_err(|error| self.explain(error));
        let mut state = self.shared.state();
        match &done {
            Ok(_) => {
                if self.failed.take().is_some() {
                    tracing::info!("the embedding writer works again");
                }
                state.stopped = None;
            }
            Err(error) => {
                self.failed = Some(Instant::now());
                state.stopped = Some(error.to_string());
            }
        }
        done
    }

    /// To the last commit: with tantivy's writer, or where that fails with a fresh one.
    fn go_back(&mut self) -> Result<Opstamp, PluginError> {
        if let Some(mut writer) = self.writer.take() {
            match PluginError::guarded("going back to the last commit", || Ok(writer.rollback()?)) {
                Ok(_) => self.writer = Some(writer),
                Err(error) => {
                    tracing::error!("the index writer cannot go back to its last commit, and is given up: {error}");
                    // It has let go of the lock, and a second rollback would panic.
                    let _ = PluginError::guarded("closing the writer", move || {
                        drop(writer);
                        Ok(())
                    });
                }
            }
        }
        let Self { writer, index, reopen, committed, folder, .. } = self;
        PluginError::guarded("opening a writer", || {
            if let Some(folder) = folder {
                // Without the lock, anybody may have put another index there.
                folder.check()?;
                folder.forget_fault();
            }
            let writer = match writer {
                Some(writer) => writer,
                None => writer.insert(reopen(index)?),
            };
            begin(writer)?;
            if let Some(committed) = committed {
                committed.reload()?;
            }
            Ok(writer.commit_opstamp())
        })
    }

    /// Accepts nothing more until a rollback. Returns the error with its cause, which tantivy's own lacks if one of its threads
    /// failed.
    pub(super) fn stop(&self, error: PluginError) -> PluginError {
        let error = self.explain(error);
        tracing::error!("the embedding writer stops: {error}");
        self.shared.state().stopped.get_or_insert_with(|| error.to_string());
        error
    }

    fn explain(&self, error: PluginError) -> PluginError {
        match &self.folder {
            Some(folder) => folder.explain(error),
            None => error,
        }
    }

    pub(super) fn stopped_error(&self) -> Option<PluginError> {
        let problem = self.shared.state().stopped.clone()?;
        Some(PluginError::WriterStopped { problem })
    }
}

/// Begins with a writer that was just opened or rolled back.
///
/// What a commit that was killed or failed left behind is taken away first: its file of deletions bears the stamp of that commit,
/// which the next one comes to again after as many operations, and tantivy would refuse to write the file anew. Then an operation
/// is spent on nothing: the first one gets the last commit's own stamp (tantivy 0.27), and a deletion with that stamp can be
/// applied by a merge before it is committed, or be lost.
pub(crate) fn begin(writer: &IndexWriter) -> Result<(), PluginError> {
    writer.garbage_collect_files().wait()?;
    writer.run([])?;
    Ok(())
}
