//! Numbers, compared exactly whether they are whole or not.

use std::cmp::Ordering;
use std::ops::Bound;

/// A number of a document or a filter.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    Whole(i128),
    /// Finite.
    Real(f64),
}

impl Number {
    /// A decimal number, `5`, `-0.5`, `1e3`; `None` for everything else, infinity and NaN among it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if !text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte)) {
            return None;
        }
        match text.parse() {
            Ok(whole) => Some(Self::Whole(whole)),
            Err(_) => text.parse::<f64>().ok().filter(|real| real.is_finite()).map(Self::Real),
        }
    }
}

/// The other way in which programs write a whole number as text: `5.0` for `5`, and `5` for `5.0`. Versions such as `1.10`, and
/// codes that begin with a zero, have none.
pub(super) fn other_spelling(text: &str) -> Option<String> {
    let whole = text.strip_suffix(".0").unwrap_or(text);
    let digits = whole.strip_prefix('-').unwrap_or(whole);
    let is_code = digits.len() > 1 && digits.starts_with('0');
    if digits.is_empty() || is_code || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(if whole.len() < text.len() { whole.to_owned() } else { format!("{text}.0") })
}

/// A number as a float, however it is written; `None` for what is no number.
pub(crate) fn number(text: &str) -> Option<f64> {
    Number::parse(text).map(|number| match number {
        Number::Whole(whole) => whole as f64,
        Number::Real(real) => real,
    })
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.partial_cmp(other) == Some(Ordering::Equal)
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (*self, *other) {
            (Self::Whole(a), Self::Whole(b)) => Some(a.cmp(&b)),
            (Self::Real(a), Self::Real(b)) => a.partial_cmp(&b),
            (Self::Whole(a), Self::Real(b)) => Some(whole_and_real(a, b)),
            (Self::Real(a), Self::Whole(b)) => Some(whole_and_real(b, a).reverse()),
        }
    }
}

fn whole_and_real(whole: i128, real: f64) -> Ordering {
    // Beyond i128 the conversion stops at its ends, which leaves the order right.
    let trunc = real.trunc();
    whole.cmp(&(trunc as i128)).then_with(|| {
        if real > trunc {
            Ordering::Less
        } else if real < trunc {
            Ordering::Greater
        } else {
            Ordering::Equal
        }
    })
}

/// What lies between two ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Interval<T> {
    pub(super) from: Bound<T>,
    pub(super) to: Bound<T>,
}

impl<T: PartialOrd> Interval<T> {
    pub(super) fn contains(&self, value: T) -> bool {
        use std::ops::RangeBounds;
        (self.from.as_ref(), self.to.as_ref()).contains(&&value)
    }

    /// Whether its first end lies above its last, so that nothing is between them.
    pub(super) fn is_reversed(&self) -> bool {
        match (&self.from, &self.to) {
            (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => from > to,
            _ => false,
        }
    }
}

impl Interval<Number> {
    /// The whole numbers in it, at most from `least` to `most`; `None` where there are none.
    pub(super) fn whole(&self, least: i128, most: i128) -> Option<(i128, i128)> {
        let from = match self.from {
            Bound::Unbounded => least,
            Bound::Included(Number::Whole(from)) => from,
            Bound::Excluded(Number::Whole(from)) => from.saturating_add(1),
            Bound::Included(Number::Real(from)) => from.ceil() as i128,
            Bound::Excluded(Number::Real(from)) => (from.floor() as i128).saturating_add(1),
        };
        let to = match self.to {
            Bound::Unbounded => most,
            Bound::Included(Number::Whole(to)) => to,
            Bound::Excluded(Number::Whole(to)) => to.saturating_sub(1),
            Bound::Included(Number::Real(to)) => to.floor() as i128,
            Bound::Excluded(Number::Real(to)) => (to.ceil() as i128).saturating_sub(1),
        };
        let (from, to) = (from.max(least), to.min(most));
        (from <= to).then_some((from, to))
    }

    /// The least and the greatest `f64` in it; `None` where there is none.
    pub(super) fn real(&self) -> Option<(f64, f64)> {
        let near = |end: Number| match end {
            Number::Whole(whole) => whole as f64,
            Number::Real(real) => real,
        };
        let inside = |value: f64| self.contains(Number::Real(value));
        // The nearest f64 to an end may lie outside, and then its neighbour does not.
        let from = match self.from {
            Bound::Unbounded => f64::MIN,
            Bound::Included(end) | Bound::Excluded(end) => {
                let lower = Interval { from: self.from, to: Bound::Unbounded };
                let near = near(end);
                if lower.contains(Number::Real(near)) { near } else { near.next_up() }
            }
        };
        let to = match self.to {
            Bound::Unbounded => f64::MAX,
            Bound::Included(end) | Bound::Excluded(end) => {
                let upper = Interval { from: Bound::Unbounded, to: self.to };
                let near = near(end);
                if upper.contains(Number::Real(near)) { near } else { near.next_down() }
            }
        };
        if from > to || !inside(from) || !inside(to) {
            return None;
        }
        // Columns keep -0.0 below 0.0, though they are equal.
        let from = if from == 0.0 { -0.0 } else { from };
        let to = if to == 0.0 { 0.0 } else { to };
        Some((from, to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_decimal_and_finite() {
        for text in ["", "-", ".", "e5", "inf", "NaN", "1e999", "0x10", "1_000", "1,5", "５", " 1", "1 "] {
            assert!(Number::parse(text).is_none(), "{text}");
        }
        for (a, b) in [("5", "5.0"), ("+5", "5e0"), ("-0.0", "0"), ("1e3", "1000"), ("-.5", "-5e-1")] {
            assert_eq!(Number::parse(a), Number::parse(b), "{a} {b}");
        }
        // As f64 these are the same.
        assert!(Number::parse("9007199254740993") > Number::parse("9007199254740992.0"));
        assert!(Number::parse("1e300") > Number::parse("99999999999999999999999999999999999999"));
    }

    fn number() -> impl Strategy<Value = Number> {
        prop_oneof![
            (-4i128..4).prop_map(Number::Whole),
            (-8i32..8).prop_map(|eighth| Number::Real(f64::from(eighth) / 4.0)),
            (0i128..4).prop_map(|more| Number::Whole((1 << 53) + more)),
            (0i128..4).prop_map(|more| Number::Real(((1i128 << 53) + more) as f64)),
            Just(Number::Real(1e300)),
            Just(Number::Real(-0.0)),
        ]
    }

    fn end() -> impl Strategy<Value = Bound<Number>> {
        prop_oneof![Just(Bound::Unbounded), number().prop_map(Bound::Included), number().prop_map(Bound::Excluded),]
    }

    proptest! {
        #[test]
        fn ends_on_columns_hold_what_the_interval_holds(from in end(), to in end(), value in number()) {
            let interval = Interval { from, to };
            match value {
                Number::Whole(whole) => {
                    let there = interval.whole(i64::MIN.into(), i64::MAX.into());
                    prop_assert_eq!(there.is_some_and(|(from, to)| (from..=to).contains(&whole)), interval.contains(value));
                }
                Number::Real(real) => {
                    let there = interval.real();
                    let holds = there.is_some_and(|(from, to)| from.total_cmp(&real).is_le() && real.total_cmp(&to).is_le());
                    prop_assert_eq!(holds, interval.contains(value));
                }
            }
        }
    }
}
