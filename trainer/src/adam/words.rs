//! Numbers for words, so that passages can be edited as text when teacher and student have different tokenizers.
//!
//! [`dark::make`](super::dark::make) edits sequences of numbers and does not ask what they stand for. With one tokenizer they
//! are token ids. With two, they are the word numbers of a [`WordTable`]: the edited words are written out again and
//! tokenised by teacher and student each for itself, so both read the same text.

use std::collections::HashMap;

/// Words seen so far and their numbers.
#[derive(Clone, Debug, Default)]
pub struct WordTable {
    words: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl WordTable {
    /// The number that stands for the mask in sequences of words.
    pub const MASK: u32 = u32::MAX;

    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// The words of a text, split at white space, as numbers.
    pub fn read(&mut self, text: &str) -> Vec<u32> {
        text.split_whitespace().map(|word| self.number(word)).collect()
    }

    fn number(&mut self, word: &str) -> u32 {
        if let Some(&number) = self.numbers.get(word) {
            return number;
        }
        let number = self.words.len() as u32;
        self.words.push(word.to_owned());
        self.numbers.insert(word.to_owned(), number);
        number
    }

    /// Writes numbers as text, words joined by one space; the mask is written as `mask` (each tokenizer has its own).
    /// Numbers the table does not know are left out.
    pub fn write(&self, numbers: &[u32], mask: &str) -> String {
        let mut text = String::new();
        for &number in numbers {
            let word = if number == Self::MASK {
                mask
            } else if let Some(word) = self.words.get(number as usize) {
                word
            } else {
                continue;
            };
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(word);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_and_the_mask_is_each_tokenizers_own() {
        let mut table = WordTable::new();
        let mut numbers = table.read("the  cat saw\nthe dog");
        assert_eq!(numbers.len(), 5);
        assert_eq!(numbers[0], numbers[3]);
        assert_eq!(table.write(&numbers, "[MASK]"), "the cat saw the dog");
        numbers[1] = WordTable::MASK;
        assert_eq!(table.write(&numbers, "[MASK]"), "the [MASK] saw the dog");
        assert_eq!(table.write(&numbers, "<mask>"), "the <mask> saw the dog");
    }
}
