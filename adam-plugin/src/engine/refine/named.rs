//! Names with a number behind them, as they are typed.

/// `NAME:NUMBER` as a name and a number; none where there is no number.
pub(super) fn named_number(text: &str) -> Option<(&str, usize)> {
    let (name, number) = text.rsplit_once(':')?;
    Some((name, number.parse().ok()?))
}
