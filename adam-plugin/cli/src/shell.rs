//! `adam completions` and `adam man`: made from the commands' own definitions.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Arg, ArgAction, Args, Command, CommandFactory, ValueHint};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::configuration;
use crate::screen::say_exactly;

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
    // Files are offered where an option takes a path, and only there.
    let hinted = |arg: Arg| match arg.get_value_hint() {
        ValueHint::Unknown if arg.get_action().takes_values() => arg.value_hint(ValueHint::Other),
        _ => arg,
    };
    let mut command = C::command().mut_args(hinted).mut_subcommands(|command| command.mut_args(hinted));
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "adam", &mut script);
    say_exactly(&String::from_utf8_lossy(&script))
}

pub(crate) fn man<C: CommandFactory>(args: &ManArgs) -> Result<()> {
    std::fs::create_dir_all(&args.folder).with_context(|| format!("making {}", args.folder.display()))?;
    let mut command = configuration::apply(C::command(), None)?.disable_help_subcommand(true);
    command.build();
    for command in command.get_subcommands().chain([&command]).filter(|command| !command.is_hide_set()) {
        write_page(command, &args.folder).with_context(|| format!("writing to {}", args.folder.display()))?;
    }
    Ok(())
}

fn write_page(command: &Command, folder: &Path) -> std::io::Result<()> {
    let (usage, variables, after) = (synopsis(command), environment(command), after_help(command));
    let man = Man::new(command.clone().override_usage(usage));
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    variables.to_writer(&mut page)?;
    after.to_writer(&mut page)?;
    if command.get_version().is_some() {
        man.render_version_section(&mut page)?;
    }
    std::fs::write(folder.join(man.get_filename()), page)
}

/// How a command is called, with the values of its options.
fn synopsis(command: &Command) -> String {
    let one = |arg: &Arg| {
        let names = arg.get_value_names().unwrap_or_default();
        let values = names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let call = match arg.get_long() {
            Some(long) if arg.get_action().takes_values() => format!("--{long} {values}"),
            Some(long) => format!("--{long}"),
            None => values,
        };
        let call = if arg.is_required_set() { call } else { format!("[{call}]") };
        if matches!(arg.get_action(), ArgAction::Append) { format!("{call}...") } else { call }
    };
    let args = || command.get_arguments().filter(|arg| !arg.is_hide_set());
    let (required, optional): (Vec<&Arg>, Vec<&Arg>) =
        args().filter(|arg| !arg.is_positional()).partition(|arg| arg.is_required_set());
    let words = required.into_iter().chain(optional).chain(args().filter(|arg| arg.is_positional())).map(one);
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let command = if command.has_subcommands() { " COMMAND" } else { "" };
    format!("{name} {}{command}", words.collect::<Vec<_>>().join(" "))
}

/// The variables that a command reads.
fn environment(command: &Command) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["ENVIRONMENT"]);
    let mut entry = |name: &str, text: &str| {
        roff.control("TP", []);
        roff.text([bold(name)]);
        roff.text([roman(text)]);
    };
    for arg in command.get_arguments() {
        if let (Some(variable), Some(long)) = (arg.get_env(), arg.get_long()) {
            entry(&variable.to_string_lossy(), &format!("Value of --{long} where the command line has none."));
        }
    }
    entry("RUST_LOG", "What is logged to standard error: error, warn, info, debug, trace or off.");
    entry("NO_COLOR", "If set and not empty, nothing is coloured.");
    entry("ORT_DYLIB_PATH", "The library of ONNX Runtime, or its folder.");
    roff
}

/// What stands after the options in the help, under headings of a manual.
fn after_help(command: &Command) -> Roff {
    let mut roff = Roff::new();
    let text = command.get_after_long_help().or(command.get_after_help()).map(ToString::to_string).unwrap_or_default();
    let mut under = "";
    for paragraph in text.split("\n\n") {
        let known = [("Examples:", "EXAMPLES"), ("Exit codes:", "EXIT STATUS")];
        let heading = known.iter().find(|(start, _)| paragraph.starts_with(start));
        let (start, section) = match heading {
            Some((start, section)) => (*start, *section),
            None if paragraph.starts_with(' ') && !under.is_empty() => ("", under),
            None => ("", "NOTES"),
        };
        if section != under {
            roff.control("SH", [section]);
            under = section;
        } else {
            roff.control("PP", []);
        }
        // Lines as they are: most of them are calls.
        roff.control("nf", []);
        for line in paragraph.trim_start_matches(start).trim_start_matches('\n').lines() {
            roff.text([roman(line)]);
        }
        roff.control("fi", []);
    }
    roff
}
