//! `adam completions` and `adam man`: made from the commands' own definitions.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::screen::say;

/// Print the completions of a shell.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = "\
Examples:
  adam completions bash > ~/.local/share/bash-completion/completions/adam
  adam completions zsh > ~/.zfunc/_adam
  adam completions fish > ~/.config/fish/completions/adam.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

/// Write the manual pages, one for each command.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = "\
Examples:
  adam man ~/.local/share/man/man1 && man adam-search")]
pub(crate) struct ManArgs {
    /// Folder to write them to; made if it is not there.
    folder: PathBuf,
}

pub(crate) fn completions<C: CommandFactory>(args: &CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut C::command(), "adam", &mut script);
    say(&String::from_utf8_lossy(&script))
}

pub(crate) fn man<C: CommandFactory>(args: &ManArgs) -> Result<()> {
    std::fs::create_dir_all(&args.folder).with_context(|| format!("making {}", args.folder.display()))?;
    clap_mangen::generate_to(C::command(), &args.folder)
        .with_context(|| format!("writing to {}", args.folder.display()))?;
    Ok(())
}
