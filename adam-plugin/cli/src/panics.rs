//! Panics, as errors that say what to do: tantivy panics over some files that do not hold what it wrote.

use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, bail};

/// The panic's message, and its position in the code.
static SAID: Mutex<Option<String>> = Mutex::new(None);

/// Does a command's work. A panic in it is an error that names the index.
pub(crate) fn caught(index: Option<&Path>, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let main = std::thread::current().id();
    let detailed = std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0");
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic: &PanicHookInfo<'_>| {
        if detailed {
            usual(panic);
        } else if std::thread::current().id() == main {
            *SAID.lock().unwrap_or_else(PoisonError::into_inner) = Some(one_line(panic));
        } else {
            tracing::error!("a thread failed: {}", one_line(panic));
        }
    }));
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done,
        Err(_) => {
            let said = SAID.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
            match index {
                Some(index) => bail!(
                    "the program failed while it worked on {0} ({said}); perhaps a file there is damaged: `adam check {0}` says which. \
                     If it finds nothing, please report this line",
                    index.display()
                ),
                None => bail!("the program failed ({said}); please report this line"),
            }
        }
    }
}

fn one_line(panic: &PanicHookInfo<'_>) -> String {
    let said = panic.payload_as_str().unwrap_or("no reason").replace(['\n', '\r'], " ");
    match panic.location() {
        Some(at) => format!("{said}, at {}:{}", at.file().rsplit('/').next().unwrap_or_default(), at.line()),
        None => said,
    }
}
