//! Values of options by their names: offered by completions, listed by the help, read by the type itself.

use std::ffi::OsStr;
use std::fmt::Display;
use std::str::FromStr;

use adam_encoder::{Precision, Provider};
use adam_plugin::engine::FusionName;
use adam_plugin::shards::Part;
use adam_plugin::{Language, Mode, OnFailure};
use beir_eval::OnWrongLine;
use clap::builder::{PossibleValue, TypedValueParser};
use clap::{Arg, Command};
use tantivy_dense::Device;

/// A parser that offers some names and takes whatever its type reads, such as `cuda:1` where `cuda` is offered.
#[derive(Clone)]
pub(crate) struct NameParser<T> {
    names: Vec<&'static str>,
    read: fn(&str) -> Result<T, String>,
}

impl<T: Clone + Send + Sync + 'static> TypedValueParser for NameParser<T> {
    type Value = T;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<T, clap::Error> {
        self.read.parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.names.iter().map(PossibleValue::new)))
    }
}

fn read<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|fault: T::Err| fault.to_string())
}

fn offered<T: FromStr<Err: Display>>(names: &[&'static str]) -> NameParser<T> {
    NameParser { names: names.to_vec(), read: read::<T> }
}

pub(crate) fn mode() -> NameParser<Mode> {
    offered(&["bm25", "dense", "hybrid"])
}

pub(crate) fn fusion() -> NameParser<FusionName> {
    offered(&FusionName::NAMES)
}

pub(crate) fn language() -> NameParser<Language> {
    // clap keeps names for as long as the program runs.
    let kept = |language: Language| -> &'static str { Box::leak(language.to_string().into_boxed_str()) };
    NameParser { names: Language::all().map(kept).collect(), read: read::<Language> }
}

pub(crate) fn on_failure() -> NameParser<OnFailure> {
    offered(&["fail", "skip", "text-only"])
}

/// Of a server, which must not fail because of one client's text.
pub(crate) fn on_failure_of_a_server() -> NameParser<OnFailure> {
    let read = |text: &str| match read(text)? {
        OnFailure::Fail => {
            Err("one bad text of one client must not stop the others; there are skip and text-only".to_owned())
        }
        policy => Ok(policy),
    };
    NameParser { names: vec!["skip", "text-only"], read }
}

pub(crate) fn on_wrong_line() -> NameParser<OnWrongLine> {
    offered(&["stop", "skip"])
}

pub(crate) fn precision() -> NameParser<Precision> {
    offered(&["f32", "f16", "int8"])
}

pub(crate) fn provider() -> NameParser<Provider> {
    offered(&["cpu", "cuda", "tensorrt", "migraphx", "directml", "openvino", "coreml"])
}

pub(crate) fn device() -> NameParser<Device> {
    offered(&["gpu", "host"])
}

/// One shard of several.
pub(crate) fn part(text: &str) -> Result<Part, String> {
    text.parse().map_err(|fault: adam_plugin::PluginError| fault.to_string())
}

/// A share of a whole, 0 to 1.
pub(crate) fn share(text: &str) -> Result<f32, String> {
    let share: f32 = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
    (0.0..=1.0).contains(&share).then_some(share).ok_or_else(|| format!("{text} does not lie in 0..=1"))
}
