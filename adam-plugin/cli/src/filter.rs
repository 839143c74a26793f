//! The help on filters, for the commands that take them.

/// The grammar of filters, for the long help of a command.
macro_rules! filter_help {
    () => {
        "\
Filters:
  brand:acme                   a value is this; on a field of text, all words are in it
  brand:(acme, norse)          a value is one of these
  year:2015..2020  price:..9   a number or date between two ends, which are included
  year >= 2019  price<50       a number or date that is above or below
  released:2024-05             a date within the month; also 2024, 2024-05-31, 2024-05-31 10:00
  brand:*                      there is a value
  NOT brand:acme  -brand:acme  documents for which it does not hold
  a:x AND (b:y OR c:z)         NOT binds before AND, AND before OR; the words are in capitals
  dc.title:x  og:title:x       a key with a dot or colon, or keys of objects; \"dc.title\":x is the key alone
  note:\"this OR that\"         quotes for AND, OR, NOT, `..`, `*` alone, a leading < or >, a comma in a list"
    };
}

pub(crate) use filter_help;
