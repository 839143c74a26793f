//! Words of scripts that do not set them apart, by dictionary.

use icu_segmenter::options::WordBreakInvariantOptions;
use icu_segmenter::{WordSegmenter, WordSegmenterBorrowed};
use std::sync::LazyLock;

/// Dictionaries of Chinese and Japanese, Thai, Khmer, Lao and Burmese, which are part of the program. Dictionaries and not the neural
/// networks that the crate has as well: a word is the same whatever stands around it more often, and it takes less time.
static SEGMENTER: LazyLock<WordSegmenterBorrowed<'static>> =
    LazyLock::new(|| WordSegmenter::new_dictionary(WordBreakInvariantOptions::default()));

/// Where words end, as numbers of letters from the start; the last is the number of all. A letter stands with its marks.
pub(super) fn word_ends<'a>(letters: impl Iterator<Item = &'a str>) -> Vec<usize> {
    let mut text = String::new();
    let mut letter_ends = Vec::new();
    for letter in letters {
        text.push_str(letter);
        letter_ends.push(text.len());
    }
    let mut ends = Vec::new();
    let mut at = 0;
    for end in SEGMENTER.segment_str(&text) {
        while letter_ends.get(at).is_some_and(|letter| *letter < end) {
            at += 1;
        }
        // An end within a letter and its marks is none.
        if letter_ends.get(at) == Some(&end) {
            ends.push(at + 1);
        }
    }
    if ends.last() != Some(&letter_ends.len()) && !letter_ends.is_empty() {
        ends.push(letter_ends.len());
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let letters: Vec<String> = text.chars().map(String::from).collect();
        let mut words = Vec::new();
        let mut start = 0;
        for end in word_ends(letters.iter().map(String::as_str)) {
            words.push(letters[start..end].concat());
            start = end;
        }
        words
    }

    #[test]
    fn every_language_without_spaces_has_a_dictionary() {
        let texts = ["我们在图书馆看书", "東京都に住む", "ภาษาไทยเป็นภาษา", "ພາສາລາວ", "ខ្ញុំរៀនភាសាខ្មែរ", "မြန်မာစကား"];
        let found = texts.map(|text| words(text).join(" "));
        assert_eq!(
            found,
            ["我们 在 图书 馆 看书", "東京 都 に 住む", "ภาษา ไทย เป็น ภาษา", "ພາສາ ລາວ", "ខ្ញុំ រៀន ភាសាខ្មែរ", "မြန်မာ စကား"]
        );
        assert_eq!(words(""), Vec::<String>::new());
    }
}
