//! Prints the public items of a library crate, one a line, from the JSON that rustdoc writes. `scripts/api.sh` calls it.

use anyhow::{Context, bail};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file] = arguments.as_slice() else { bail!("give one file of rustdoc's JSON") };
    let api = public_api::Builder::from_rustdoc_json(file)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()
        .with_context(|| format!("{file} cannot be read; another version of Rust writes another format"))?;
    print!("{api}");
    Ok(())
}
