//! Options from the line, the environment and a file, and the help that names them.

use crate::common::{adam, done, run, told};
use crate::{World, hits};

#[test]
fn the_line_wins_over_the_environment_and_that_over_the_file() {
    let Some(world) = World::new() else { return };
    let file = world.write(
        "adam.toml",
        &format!("index = \"{}\"\ntop = 4\n[search]\nmode = \"dense\"\ntop = 3\njson = true\n", world.index()),
    );
    let count = |variables: &[(&str, &str)], words: &[&str]| {
        let mut command = adam();
        command.args(words).arg("crows").envs(variables.iter().copied());
        let (code, out, err) = told(command.output().unwrap());
        assert_eq!(code, 0, "{err}");
        hits(&out).len()
    };
    assert_eq!(count(&[], &["--config", &file, "search"]), 3);
    assert_eq!(count(&[], &["search", &format!("--config={file}")]), 3);
    assert_eq!(count(&[("ADAM_CONFIG", &file)], &["search"]), 3);
    assert_eq!(count(&[("ADAM_CONFIG", &file), ("ADAM_SEARCH_TOP", "2")], &["search"]), 2);
    assert_eq!(count(&[("ADAM_CONFIG", &file), ("ADAM_SEARCH_TOP", "2")], &["search", "--top", "1"]), 1);
    // Lists, and an option of all commands.
    let filtered = world.write(
        "filter.toml",
        &format!("index = \"{}\"\nmode = \"dense\"\n[search]\njson = true\nfilter = [\"year:2001..2004\", \"year:2003..\"]\n", world.index()),
    );
    assert_eq!(count(&[], &["--config", &filtered, "search"]), 2);
}

#[test]
fn a_wrong_configuration_is_a_wrong_call() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("adam.toml");
    for (text, words) in [
        ("topp = 3", "topp"),
        ("[search]\nsplit = \"test\"", "split"),
        ("[serch]\ntop = 3", "serch"),
        ("[search]\ntop = [1, 2]", "one value"),
        ("[search]\ntop = 2026-01-01", "datetime"),
        ("top = ", "TOML"),
        ("[search]\ntop = \"many\"", "many"),
    ] {
        std::fs::write(&path, text).unwrap();
        let (code, out, err) = run(&["--config", path.to_str().unwrap(), "search", "--index", "x", "crows"]);
        assert!(code == 2 && out.is_empty() && err.contains(words), "{text}: {code} {err}");
    }
    // The table of `adam index` is not the option `--index` of another command; a table with no command's name is a mistake.
    std::fs::write(&path, "[index]\nbatch = 3").unwrap();
    let search = ["--config", path.to_str().unwrap(), "search", "--index", "no/such/index", "crows"];
    let (code, _, err) = run(&search);
    assert!(code == 1 && err.contains("no/such/index"), "{code} {err}");
    std::fs::write(&path, "[top]\nbatch = 3").unwrap();
    let (code, _, err) = run(&search);
    assert!(code == 2 && err.contains("`top`"), "{code} {err}");
    let (code, _, err) = run(&["--config", "no/such/file.toml", "search", "--index", "x", "crows"]);
    assert!(code == 2 && err.contains("no/such/file.toml"), "{err}");
}

#[test]
fn a_wrong_value_is_named_with_where_it_comes_from() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("adam.toml");
    std::fs::write(&path, "[search]\ntop = \"many\"").unwrap();
    let file = path.to_str().unwrap();
    let said = |variables: &[(&str, &str)], words: &[&str]| {
        let mut command = adam();
        command.args(words).args(["search", "--index", "x", "crows"]).envs(variables.iter().copied());
        let (code, _, err) = told(command.output().unwrap());
        assert_eq!(code, 2, "{err}");
        err
    };
    let err = said(&[], &["--config", file]);
    assert!(err.contains("many") && err.contains(&format!("comes from {file}")), "{err}");
    let err = said(&[("ADAM_SEARCH_TOP", "few")], &["--config", file]);
    assert!(err.contains("few") && err.contains("comes from the variable ADAM_SEARCH_TOP"), "{err}");
    let (code, _, err) = run(&["search", "--index", "x", "--top", "some", "crows"]);
    assert!(code == 2 && err.contains("some") && !err.contains("comes from"), "{err}");
}

#[test]
fn help_manual_and_completions_know_every_command() {
    let help = done(&["--help"]);
    let folder = tempfile::tempdir().unwrap();
    done(&["man", folder.path().to_str().unwrap()]);
    let mut scripts = String::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = done(&["completions", shell]);
        assert!(script.contains("adam"), "{shell}");
        scripts.push_str(&script);
    }
    for command in ["index", "search", "eval", "encode", "import", "reembed", "completions", "man"] {
        assert!(help.contains(command), "{command}");
        assert!(scripts.contains(command), "{command}");
        let own = done(&[command, "--help"]);
        assert!(own.contains("Examples:") && own.contains(&format!("adam {command}")), "{command}: {own}");
        let page = std::fs::read_to_string(folder.path().join(format!("adam-{command}.1"))).unwrap();
        // Every option of the help stands in the manual.
        for option in own.split_whitespace().filter(|word| word.starts_with("--") && word.len() > 2) {
            let name =
                option.trim_start_matches('-').split(|c: char| !(c.is_alphanumeric() || c == '-')).next().unwrap();
            if own.contains(&format!("      --{name}")) || own.contains(&format!(", --{name}")) {
                assert!(page.replace('\\', "").contains(&format!("--{name}")), "{command} --{name}");
            }
        }
    }
    // Values are offered by every shell that can, and files only where a path is wanted.
    let bash = done(&["completions", "bash"]);
    for (command, option, values) in [
        ("search", "--mode", "bm25 dense hybrid"),
        ("search", "--fusion", "convex rrf min-max z-score dbsf"),
        ("search", "--provider", "cpu cuda"),
        ("index", "--language", "german"),
        ("index", "--on-failure", "fail skip text-only"),
        ("index", "--precision", "f32 f16 int8"),
        ("encode", "--kind", "document query"),
        ("serve", "--on-failure", "skip text-only"),
    ] {
        let own =
            bash.split(&format!("adam__subcmd__{command})")).nth(1).or(bash.split(&format!("adam__{command})")).nth(1));
        let own = own.unwrap_or_else(|| panic!("{command} is not completed"));
        let of_option = own.split(&format!("{option})")).nth(1).unwrap().split(";;").next().unwrap();
        assert!(of_option.contains("compgen -W") && of_option.contains(values), "{command} {option}: {of_option}");
    }
    let top = bash.split("--top)").nth(1).unwrap().split(";;").next().unwrap();
    assert!(!top.contains("compgen -f"), "{top}");
    // The manual has a synopsis with values, examples, and variables.
    let page = std::fs::read_to_string(folder.path().join("adam-search.1")).unwrap().replace('\\', "");
    for part in
        [".SH EXAMPLES", ".SH ENVIRONMENT", "ADAM_SEARCH_TOP", "ADAM_INDEX", "--index DIR [--mode MODE]", "[--filter"]
    {
        assert!(page.contains(part), "{part}: {page}");
    }
    let page = std::fs::read_to_string(folder.path().join("adam.1")).unwrap();
    for part in [".SH EXAMPLES", ".SH \"EXIT STATUS\"", ".SH NOTES", "143", "ADAM_CONFIG"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    for words in ["Exit codes", "adam.toml", "ADAM_SEARCH_TOP", "RUST_LOG"] {
        assert!(help.contains(words), "{words}");
    }
    let (code, out, err) = run(&["search"]);
    assert!(code == 2 && out.is_empty() && err.contains("--index"), "{err}");
    let (code, _, err) = run(&["search", "--index", "no/such/index", "x"]);
    assert!(code == 1 && err.contains("no/such/index"), "{err}");
    for (wrong, option) in [
        (&["search", "--index", "i", "--weight", "3", "x"][..], "--weight"),
        (&["encode", "--model", "m", "--input", "i", "--output", "o.txt"], "--output"),
        (&["eval", "--index", "i", "--data", "d", "--compare", "run"], "--compare"),
        (&["serve", "--index", "i", "--commit-every", "0.001"], "--commit-every"),
    ] {
        let (code, _, err) = run(wrong);
        assert!(code == 2 && err.contains(option), "{wrong:?}: {code} {err}");
    }
}
