//! The `adam` command.

fn main() {}
