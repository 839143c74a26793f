//! Values of options by their names: offered by completions, listed by the help, read by the type itself.

use std::ffi::OsStr;
use std::fmt::Display;
use std::str::FromStr;

use adam_encoder::{Precision, Provider};
use adam_plugin::engine::FusionName;
use adam_plugin::{Language, Mode, OnFailure};
use beir_eval::OnWrongLine;
use clap::builder::{PossibleValue, TypedValueParser};
use clap::{Arg, Command};
use serde_json::Value;
use tantivy_dense::Device;

/// A parser that offers some names and takes whatever its type reads, such as `cuda:1` where `cuda` is offered.
#[derive(Clone)]
pub(crate) struct Offered<T> {
    names: Vec<&'static str>,
    read: fn(&str) -> Result<T, String>,
}

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Offered<T> {
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

fn offered<T: FromStr<Err: Display>>(names: &[&'static str]) -> Offered<T> {
    Offered { names: names.to_vec(), read: read::<T> }
}

pub(crate) fn mode() -> Offered<Mode> {
    offered(&["bm25", "dense", "hybrid"])
}

pub(crate) fn fusion() -> Offered<FusionName> {
    const NAMES: [&str; 5] = ["convex", "rrf", "min-max", "z-score", "dbsf"];
    let read =
        |text: &str| serde_json::from_value(Value::from(text)).map_err(|_| format!("there are {}", NAMES.join(", ")));
    Offered { names: NAMES.to_vec(), read }
}

pub(crate) fn language() -> Offered<Language> {
    // clap keeps names for as long as the program runs.
    let kept = |language: Language| -> &'static str { Box::leak(language.to_string().into_boxed_str()) };
    Offered { names: Language::all().map(kept).collect(), read: read::<Language> }
}

pub(crate) fn on_failure() -> Offered<OnFailure> {
    offered(&["fail", "skip", "text-only"])
}

/// Of a server, which must not fail because of one client's text.
pub(crate) fn on_failure_of_a_server() -> Offered<OnFailure> {
    let read = |text: &str| match read(text)? {
        OnFailure::Fail => {
            Err("one bad text of one client must not stop the others; there are skip and text-only".to_owned())
        }
        policy => Ok(policy),
    };
    Offered { names: vec!["skip", "text-only"], read }
}

pub(crate) fn on_wrong_line() -> Offered<OnWrongLine> {
    offered(&["stop", "skip"])
}

pub(crate) fn precision() -> Offered<Precision> {
    offered(&["f32", "f16", "int8"])
}

pub(crate) fn provider() -> Offered<Provider> {
    offered(&["cpu", "cuda", "tensorrt", "migraphx", "directml", "openvino", "coreml"])
}

pub(crate) fn device() -> Offered<Device> {
    offered(&["gpu", "host"])
}
