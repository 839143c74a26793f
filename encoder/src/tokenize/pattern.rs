//! Regular expressions from a tokenizer's file, with an end to how long they may take.
//!
//! The expressions are Oniguruma's, which the models' authors wrote them for, and which backtracks: some take a time that doubles with
//! each letter of the text. `tokenizers` runs them without a limit on a whole search, and panics where Oniguruma's own limit for one
//! attempt is met. Here an attempt has a limit, and the time is checked between two attempts.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use onig::{MatchParam, Regex, Region, SearchOptions};
use tokenizers::pattern::Pattern;
use tokenizers::{Offsets, Result};

/// Steps back of one attempt at one place. A text of ordinary words needs a few, one of white space only as many as it is long.
const MOST_STEPS: u32 = 2_000_000;

/// What a text may take in all expressions together, where nobody set another end. Ordinary ones take milliseconds.
pub(super) const TIME: Duration = Duration::from_secs(5);

thread_local! {
    /// When work on the text at hand must end.
    static END: Cell<Option<Instant>> = const { Cell::new(None) };
}

thread_local! {
    /// What a normaliser said of the text at hand: `tokenizers` goes on with the text as it is then, and says nothing.
    static FAULT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Does `work` on one text, which has `time` for all its expressions.
pub(super) fn within<T>(time: Duration, work: impl FnOnce() -> Result<T>) -> Result<T> {
    /// Takes the end and the fault away, also after a panic.
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            END.set(None);
            FAULT.take();
        }
    }
    let _reset = Reset;
    END.set(Some(Instant::now() + time));
    let done = work();
    match FAULT.take() {
        Some(fault) => Err(fault.into()),
        None => done,
    }
}

/// Normalises, and notes what goes wrong.
pub(super) fn noted(normalize: impl FnOnce() -> Result<()>) -> Result<()> {
    if let Some(fault) = FAULT.with_borrow(Clone::clone) {
        return Err(fault.into());
    }
    let done = normalize();
    if let Err(fault) = &done {
        FAULT.set(Some(fault.to_string()));
    }
    done
}

/// Fails where the time for the text at hand is over.
pub(super) fn in_time() -> Result<()> {
    match END.get() {
        Some(end) if Instant::now() > end => Err(format!(
            "it takes more than {} s, since an expression in the tokenizer's file goes back and forth in this text without end",
            TIME.as_secs()
        )
        .into()),
        _ => Ok(()),
    }
}

/// What a tokenizer's file looks for in a text.
#[derive(Debug)]
pub(super) enum PatternKind {
    /// These letters.
    Letters(String),
    /// What matches.
    Expression(Regex),
}

impl PatternKind {
    pub(super) fn letters(letters: &str) -> Result<Self> {
        // Nothing is found everywhere; an expression does that as `tokenizers` does.
        if letters.is_empty() { Self::expression("") } else { Ok(Self::Letters(letters.to_owned())) }
    }

    pub(super) fn expression(source: &str) -> Result<Self> {
        Ok(Self::Expression(Regex::new(source)?))
    }

    /// Where it is found, first to last; no two of them overlap.
    pub(super) fn found(&self, text: &str) -> Result<Vec<(usize, usize)>> {
        match self {
            Self::Letters(letters) => Ok(text.match_indices(letters).map(|(at, part)| (at, at + part.len())).collect()),
            Self::Expression(regex) => matches(regex, text),
        }
    }
}

/// All matches, as `onig::Regex::find_iter` gives them.
fn matches(regex: &Regex, text: &str) -> Result<Vec<(usize, usize)>> {
    let mut found = Vec::new();
    let mut region = Region::new();
    let mut from = 0;
    let mut last_end = None;
    while from <= text.len() {
        let Some((start, end)) = next(regex, text, from, &mut region)? else { break };
        if start == end && last_end == Some(end) {
            // Nothing right behind a match is none.
            from += text[from..].chars().next().map_or(1, char::len_utf8);
            continue;
        }
        from = end;
        last_end = Some(end);
        found.push((start, end));
    }
    Ok(found)
}

/// The next match that begins at `from` or later.
fn next(regex: &Regex, text: &str, from: usize, region: &mut Region) -> Result<Option<(usize, usize)>> {
    let mut position = from;
    loop {
        in_time()?;
        region.clear();
        let mut limit = MatchParam::default();
        limit.set_retry_limit_in_match(MOST_STEPS);
        // One position at a time. A search from one position to another would take the second for the end of the text, and so cut
        // a match that goes on behind it.
        let found =
            regex.match_with_param(text, position, SearchOptions::SEARCH_OPTION_NONE, Some(region), limit).map_err(
                |error| format!("an expression in the tokenizer's file fails at this text: {}", error.description()),
            )?;
        if found.is_some() {
            return Ok(region.pos(0));
        }
        match text[position..].chars().next() {
            Some(character) => position += character.len_utf8(),
            None => return Ok(None),
        }
    }
}

impl Pattern for &PatternKind {
    fn find_matches(&self, inside: &str) -> Result<Vec<(Offsets, bool)>> {
        if inside.is_empty() {
            return Ok(vec![((0, 0), false)]);
        }
        let mut parts = Vec::new();
        let mut before = 0;
        for (start, end) in self.found(inside)? {
            if before != start {
                parts.push(((before, start), false));
            }
            parts.push(((start, end), true));
            before = end;
        }
        if before != inside.len() {
            parts.push(((before, inside.len()), false));
        }
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXPRESSIONS: [&str; 12] = [
        "",
        r"\s+",
        r"a*",
        r"(?=b)",
        r"\b",
        r"x?$",
        r"^a",
        r"(?<=a)b",
        r"\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        r"'s|'t|'re| ?\p{L}+| ?\p{N}+",
        r"(?i:ab)|é",
        r"a.{0,300}z",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        /// Position by position as in one search.
        #[test]
        fn matches_are_those_of_the_library(
            which in 0..EXPRESSIONS.len(),
            text in "[ab xzé's1\n😀]{0,60}",
            times in 1usize..30,
        ) {
            let text = text.repeat(times);
            let regex = Regex::new(EXPRESSIONS[which]).unwrap();
            let expected: Vec<_> = regex.find_iter(&text).collect();
            prop_assert_eq!(matches(&regex, &text).unwrap(), expected);
        }

        #[test]
        fn letters_are_those_of_an_expression(letters in "[ab.]{0,3}", text in "[ab. ]{0,80}") {
            let sought = PatternKind::letters(&letters).unwrap();
            let escaped: String = letters.chars().flat_map(|letter| ['\\', letter]).collect::<String>()
                .replace("\\a", "a").replace("\\b", "b");
            let regex = Regex::new(&escaped).unwrap();
            let expected: Vec<_> = regex.find_iter(&text).collect();
            prop_assert_eq!(sought.found(&text).unwrap(), expected);
        }
    }

    #[test]
    fn a_long_match_is_not_cut() {
        let text = "漢".repeat(700);
        let regex = Regex::new(r"\p{L}+").unwrap();
        assert_eq!(matches(&regex, &text).unwrap(), [(0, text.len())]);
        let text = format!("a{}z", "-".repeat(290));
        assert_eq!(matches(&Regex::new(r"a.{0,300}z").unwrap(), &text).unwrap(), [(0, 292)]);
        assert_eq!(matches(&Regex::new(r"-+(?!-)").unwrap(), &text).unwrap(), [(1, 291)]);
    }

    #[test]
    fn expressions_without_end_are_stopped() {
        let costly = "a".repeat(40) + "!";
        for source in ["(a+)+$", "(a+)+[bc]", "((a|aa)+)+[bc]", "(a|a)*[bc]", r"(a*)*\1\1c", "((a|aa)+)+b"] {
            let begun = Instant::now();
            let found = matches(&Regex::new(source).unwrap(), &costly);
            assert!(begun.elapsed() < Duration::from_secs(20), "{source}: {:?}", begun.elapsed());
            match found {
                Err(fault) => assert!(fault.to_string().contains("fails at this text"), "{source}: {fault}"),
                // A letter that must come and is not there is seen before.
                Ok(found) => assert!(found.is_empty() && source.ends_with(['b', 'c', ']']), "{source}: {found:?}"),
            }
        }
        // Below the limit of one attempt, again and again.
        let many = format!("{}!", "a".repeat(18)).repeat(10_000);
        let begun = Instant::now();
        let said = within(Duration::from_millis(300), || matches(&Regex::new("(a+)+$|!").unwrap(), &many));
        assert!(said.unwrap_err().to_string().contains("without end"));
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        // The next text has time of its own.
        in_time().unwrap();
    }
}
