//! Lists written as strings: `"[1, 2]"`, and what Python's `str` makes of lists, `"['a', 'b']"`, and of arrays, `"[1. 2.]"`.

use serde_json::Value;

/// Reads a list out of a string: JSON first, then Python's forms.
pub(super) fn parse(text: &str) -> Result<Vec<Value>, String> {
    let text = text.trim();
    if let Ok(items) = serde_json::from_str::<Vec<Value>>(text) {
        return Ok(items);
    }
    let inner = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .ok_or_else(|| "text where a list was expected, and it is no list in brackets either".to_owned())?;
    let mut items = Vec::new();
    let mut rest = inner.trim_start();
    while let Some(first) = rest.chars().next() {
        let (item, after) = if first == '\'' || first == '"' { quoted(rest, first)? } else { bare(rest)? };
        items.push(item);
        // Python separates by commas, NumPy by spaces alone.
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(next) => next.trim_start(),
            None => after,
        };
    }
    Ok(items)
}

fn quoted(text: &str, quote: char) -> Result<(Value, &str), String> {
    let mut item = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((place, character)) = characters.next() {
        if character == quote {
            return Ok((Value::String(item), &text[place + quote.len_utf8()..]));
        }
        if character == '\\' {
            match characters.next() {
                Some((_, 'n')) => item.push('\n'),
                Some((_, 't')) => item.push('\t'),
                Some((_, 'r')) => item.push('\r'),
                Some((_, same @ ('\\' | '\'' | '"'))) => item.push(same),
                Some((_, other)) => return Err(format!("the escape `\\{other}` in a list is not known")),
                None => break,
            }
        } else {
            item.push(character);
        }
    }
    Err("a quoted entry of the list does not end".to_owned())
}

fn bare(text: &str) -> Result<(Value, &str), String> {
    let end = text.find(|c: char| c == ',' || c.is_whitespace()).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let value = if let Ok(whole) = word.parse::<i64>() {
        Value::from(whole)
    } else if let Some(number) = word.parse::<f64>().ok().and_then(serde_json::Number::from_f64) {
        Value::Number(number)
    } else {
        return Err("an entry of the list is neither quoted nor a finite number".to_owned());
    };
    Ok((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn the_forms_that_occur() {
        assert_eq!(parse("[1, 2]"), Ok(vec![json!(1), json!(2)]));
        assert_eq!(parse(r#"["a", "b"]"#), Ok(vec![json!("a"), json!("b")]));
        assert_eq!(parse("['a', \"it's\", 'c\\'d']"), Ok(vec![json!("a"), json!("it's"), json!("c'd")]));
        assert_eq!(parse("[ 1.5  -2.\n 3e2]"), Ok(vec![json!(1.5), json!(-2.0), json!(300.0)]));
        assert_eq!(parse(" [] "), Ok(vec![]));
        assert_eq!(parse("[1,]"), Ok(vec![json!(1)]));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for wrong in ["", "abc", "[", "['a", "[nan]", "[a]", "['a\\", "['\\x41']"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_lists_of_texts_come_back(any in ".{0,80}", items in prop::collection::vec("[a-z'\"\\\\ ,]{0,8}", 0..6)) {
            let _ = parse(&any);
            let _ = parse(&format!("[{any}]"));
            let python: Vec<String> = items
                .iter()
                .map(|i| format!("'{}'", i.replace('\\', "\\\\").replace('\'', "\\'")))
                .collect();
            let back = parse(&format!("[{}]", python.join(", "))).unwrap();
            prop_assert_eq!(back, items.into_iter().map(Value::String).collect::<Vec<_>>());
        }
    }
}
