//! Tests of the configuration file and of the printed one.

use super::*;
use std::collections::BTreeSet;

#[test]
fn the_printed_defaults_are_the_defaults() {
    assert_eq!(Config::parse(DEFAULTS, &[]).unwrap(), Config::default());
}

#[test]
fn the_settings_for_passages_alone_make_a_run() {
    let named = ["run.output=o", "student.model=m", "data.path=d"].map(str::to_owned);
    let config = Config::parse(UNLABELLED, &named).unwrap();
    config.check().unwrap();
    assert!(config.queries.is_active() && !config.teacher.has_cross_encoder());
}

/// What a section may hold, by what is said to one who writes something else.
fn known_keys(section: &str) -> BTreeSet<String> {
    let header = if section.is_empty() { String::new() } else { format!("[{section}]\n") };
    let said = Config::parse(&format!("{header}no_such_key = 1\n"), &[]).unwrap_err().to_string();
    let expected = said.split("expected ").nth(1).unwrap().lines().next().unwrap();
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn names_every_key(section: &str, table: &toml::Table) {
    assert_eq!(table.keys().cloned().collect::<BTreeSet<_>>(), known_keys(section), "[{section}]");
    for (key, value) in table {
        if let Some(table) = value.as_table() {
            names_every_key(&if section.is_empty() { key.clone() } else { format!("{section}.{key}") }, table);
        }
    }
}

#[test]
fn the_printed_defaults_name_every_key() {
    let lines = DEFAULTS.lines().map(|line| {
        let setting = line.strip_prefix("# ").filter(|rest| {
            rest.split_once(" = ").is_some_and(|(key, _)| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        });
        setting.unwrap_or(line)
    });
    // With those that have no default: they are of the right kind, too.
    let all = lines.collect::<Vec<_>>().join("\n");
    Config::parse(&all, &[]).unwrap();
    names_every_key("", &toml::from_str(&all).unwrap());
}

#[test]
fn settings_go_over_the_file_and_unknown_keys_are_refused() {
    let text = "[run]\noutput = \"runs/a\"\n[distil]\nepochs = 2\n";
    let config =
        Config::parse(text, &["distil.epochs=5".into(), "student.model=a b".into(), "loss.scale = 30".into()]).unwrap();
    assert_eq!(config.distil.epochs, 5);
    assert_eq!(config.student.model, PathBuf::from("a b"));
    assert_eq!(config.loss.scale, 30.0);
    let wrong = Config::parse("[distil]\nepoch = 2\n", &[]).unwrap_err().to_string();
    assert!(wrong.contains("epoch"), "{wrong}");
    assert!(Config::parse("", &["a".into()]).is_err());
    assert!(Config::parse("run = 1", &["run.seed=2".into()]).is_err());
}

#[test]
fn what_cannot_work_is_refused_by_section_and_key() {
    let base = ["run.output=o", "student.model=m", "data.path=d"].map(str::to_owned);
    Config::parse("", &base).unwrap().check().unwrap();
    for (setting, named) in [
        ("distil.learning_rate=nan", "[distil] `learning_rate`"),
        ("loss.scale=0", "[loss] `scale`"),
        ("teacher.length=60", "[teacher]"),
        ("mine.to_rank=0", "[mine]"),
        ("distil.adamw.beta1=1.5", "[distil] `adamw`"),
        ("run.output=''", "[run] `output`"),
        ("loss.list=batch", "[loss] `list"),
        ("teacher.temperature=0.5", "[teacher] `temperature`"),
        ("teacher.voices=[{ kind = \"scores\" }]", "needs `path`"),
        ("teacher.voices=[{ kind = \"bm25\", model = \"x\" }]", "has no `model`"),
        ("teacher.voices=[{ kind = \"bm25\" }, { kind = \"bm25\" }]", "there twice"),
        ("teacher.voices=[{ kind = \"bm25\", weight = 0 }]", "weights of all voices are 0"),
        ("rounds.count=9", "[rounds] `count`"),
        ("queries.keep_rank=0", "[queries] `keep_rank`"),
        ("candidates.positives=0", "[candidates] `positives`"),
        ("distil.average=1.5", "[distil] `average`"),
    ] {
        let mut settings = base.to_vec();
        settings.push(setting.to_owned());
        let problem = Config::parse("", &settings).unwrap().check().unwrap_err().to_string();
        assert!(problem.contains(named), "{setting}: {problem}");
    }
}
