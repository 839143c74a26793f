//! Upper and lower case.

use std::borrow::Cow;

use super::analysis::normalised;
use icu_casemap::{CaseMapper, CaseMapperBorrowed};

/// What becomes of upper and lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    /// Nothing.
    Kept,
    /// Unicode's full case folding: `STRASSE`, `Strasse` and `Straße` are one word, as are final and other sigmas.
    Folded,
    /// The same, but for I and İ, which are the capitals of ı and i in Turkish.
    Turkic,
    /// Nothing, but `ș` and `ț` of Romanian become `ş` and `ţ`, as its stemmer and older texts write them.
    Cedilla,
}

/// Its tables are part of the program.
const MAPPER: CaseMapperBorrowed<'static> = CaseMapper::new();

/// A word in NFKC without differences of case, in NFKC again.
pub(super) fn fold(word: &str, case: Case) -> Cow<'_, str> {
    if word.is_ascii() && case != Case::Turkic {
        return match case {
            Case::Folded if word.bytes().any(|byte| byte.is_ascii_uppercase()) => Cow::Owned(word.to_ascii_lowercase()),
            _ => Cow::Borrowed(word),
        };
    }
    let folded = match case {
        Case::Kept => return Cow::Borrowed(word),
        Case::Cedilla => return cedilla(word),
        Case::Folded => MAPPER.fold_string(word),
        Case::Turkic => MAPPER.fold_turkic_string(word),
    };
    if *folded == *word {
        return Cow::Borrowed(word);
    }
    // Letters of Cherokee are folded to capitals, which highlighting does not know.
    Cow::Owned(normalised(&folded.to_lowercase()))
}

fn cedilla(word: &str) -> Cow<'_, str> {
    let old = |letter| match letter {
        'ș' => 'ş',
        'ț' => 'ţ',
        'Ș' => 'Ş',
        'Ț' => 'Ţ',
        other => other,
    };
    match word.contains(['ș', 'ț', 'Ș', 'Ț']) {
        true => Cow::Owned(word.chars().map(old).collect()),
        false => Cow::Borrowed(word),
    }
}
