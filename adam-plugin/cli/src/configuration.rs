//! Options from a file and from the environment, for every command, by the options' own definitions.
//!
//! A value in the file becomes the default of its option, and every option has an environment variable. So the command
//! line wins over the environment, the environment over the file, and the file over what is built in; and all four are read
//! and checked by the same code.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction, Command};

/// Names the file.
const VARIABLE: &str = "ADAM_CONFIG";
/// Largest file read, in bytes.
const MAX_SIZE: u64 = 1 << 20;
/// Options that no file sets: the file itself, and what ends the program.
const NOT_OPTIONS: [&str; 3] = ["config", "help", "version"];

/// The file named on the command line, or else in the environment.
pub(crate) fn named(line: &[OsString]) -> Option<PathBuf> {
    let mut words = line.iter().skip(1).take_while(|word| *word != "--");
    while let Some(word) = words.next() {
        if word == "--config" {
            return words.next().map(PathBuf::from);
        }
        if let Some(path) = word.to_str().and_then(|word| word.strip_prefix("--config=")) {
            return Some(PathBuf::from(path));
        }
    }
    std::env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The command with an environment variable for every option, and with the file's values as defaults.
pub(crate) fn apply(command: Command, file: Option<&Path>) -> Result<Command> {
    let settings = match file {
        Some(path) => {
            let size = std::fs::metadata(path).with_context(|| format!("reading {}", path.display()))?.len();
            if size > MAX_SIZE {
                bail!("{} has {size} bytes; a configuration has at most {MAX_SIZE}", path.display());
            }
            let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
            text.parse::<toml::Table>().with_context(|| format!("{} is not TOML", path.display()))?
        }
        None => toml::Table::new(),
    };
    let file_name = file.unwrap_or(Path::new("")).display().to_string();
    check_names(&command, &settings).with_context(|| file_name.clone())?;
    let names: Vec<String> = command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let mut whole = command;
    for name in &names {
        // For all commands first, then for this one.
        let own = settings.get(name).and_then(toml::Value::as_table).cloned().unwrap_or_default();
        let mut fault = None;
        whole = whole.mut_subcommand(name, |command| {
            command.mut_args(|arg| {
                let Some(long) = arg.get_long().map(str::to_owned) else { return arg };
                let arg = with_variable(name, &long, arg);
                // The table of a command is no value of an option with the same name, as of `--index` and `[index]`.
                let is_command = |value: &toml::Value| value.is_table() && names.contains(&long);
                let names = names_of(&arg);
                let own = names.iter().find_map(|name| own.get(name));
                let general = || names.iter().find_map(|name| settings.get(name)).filter(|value| !is_command(value));
                match own.or_else(general) {
                    Some(value) if !NOT_OPTIONS.contains(&long.as_str()) => with_default(&long, value, arg.clone())
                        .unwrap_or_else(|error| {
                            fault.get_or_insert(error);
                            arg
                        }),
                    _ => arg,
                }
            })
        });
        if let Some(fault) = fault {
            return Err(fault.context(file_name));
        }
    }
    Ok(whole)
}

/// Where a value that clap refuses comes from, if not from the command line.
pub(crate) fn origin(command: &Command, line: &[OsString], file: Option<&Path>, error: &clap::Error) -> Option<String> {
    let shown = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    // As in `--top <N>`.
    let option = shown(ContextKind::InvalidArg)?.split([' ', '=']).next()?;
    let value = shown(ContextKind::InvalidValue)?;
    let given = |word: &OsString| {
        let rest = word.to_str().and_then(|word| word.strip_prefix(option));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    };
    if line.iter().any(given) {
        return None;
    }
    let called = line.iter().find_map(|word| command.find_subcommand(word))?;
    let arg = called.get_arguments().find(|arg| arg.get_long() == option.strip_prefix("--"))?;
    let variable = arg.get_env().filter(|name| std::env::var_os(name).is_some());
    match (variable, file) {
        (Some(name), _) => Some(format!("the variable {}", name.display())),
        (None, Some(file)) if arg.get_default_values().iter().any(|default| default == value) => {
            Some(file.display().to_string())
        }
        _ => None,
    }
}

/// `ADAM_SEARCH_TOP` for `--top` of `adam search`, unless the option names another variable itself.
fn with_variable(command: &str, long: &str, arg: Arg) -> Arg {
    if arg.get_env().is_some() || NOT_OPTIONS.contains(&long) {
        return arg;
    }
    let name = format!("ADAM_{command}_{long}").replace('-', "_").to_uppercase();
    arg.env(kept(name)).hide_env(true)
}

/// All long names of an option, the documented one first.
fn names_of(arg: &Arg) -> Vec<String> {
    let aliases = arg.get_all_aliases().into_iter().flatten();
    arg.get_long().into_iter().chain(aliases).map(str::to_owned).collect()
}

fn with_default(long: &str, value: &toml::Value, arg: Arg) -> Result<Arg> {
    let values = match value {
        toml::Value::Array(items) => items.iter().map(|item| text(long, item)).collect::<Result<Vec<_>>>()?,
        one => vec![text(long, one)?],
    };
    let takes_many = arg.get_value_delimiter().is_some() || matches!(arg.get_action(), ArgAction::Append);
    if values.len() != 1 && !takes_many {
        bail!("`{long}` takes one value, and has {}", values.len());
    }
    let required = arg.required(false);
    Ok(required.default_values(values.into_iter().map(kept)))
}

fn text(long: &str, value: &toml::Value) -> Result<String> {
    Ok(match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Float(number) => number.to_string(),
        toml::Value::Boolean(truth) => truth.to_string(),
        other => {
            bail!("`{long}` must be a text, a number, true or false, or a list of these, and is {}", other.type_str())
        }
    })
}

/// clap keeps names for as long as the program runs; there are as many as the file has lines.
fn kept(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

/// A name that no command knows is a mistake, and must not be ignored.
fn check_names(command: &Command, settings: &toml::Table) -> Result<()> {
    let options = |command: &Command| -> Vec<String> {
        let longs = command.get_arguments().flat_map(names_of);
        longs.filter(|long| !NOT_OPTIONS.contains(&long.as_str())).collect()
    };
    for (name, value) in settings {
        match (command.find_subcommand(name), value) {
            (Some(of), toml::Value::Table(own)) => {
                let known = options(of);
                if let Some(unknown) = own.keys().find(|key| !known.contains(key)) {
                    bail!("[{name}] has `{unknown}`, and `adam {name}` has the options {}", known.join(", "));
                }
            }
            _ => {
                let known = command.get_subcommands().any(|command| options(command).contains(name));
                if !known {
                    bail!("`{name}` is neither an option of any command nor the [table] of a command");
                }
            }
        }
    }
    Ok(())
}
