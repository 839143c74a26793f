//! Ranges: of numbers, of dates, and of both where the ends are years.

use std::ops::Bound;

use tantivy::query::{EmptyQuery, Query, RangeQuery};
use tantivy::schema::{DateTimePrecision, Field};
use tantivy::{DateTime, Term};

use super::columns::ValueRange;
use super::date::Period;
use super::expression::Comparison;
use super::number::{Interval, Number};

const DATES: &str = "2024, 2024-05, 2024-05-31 or 2024-05-31T10:00:00Z";
pub(super) const NO_END: &str = "a range needs one end at least";

/// What a range in metadata looks for: numbers, dates, or both where its ends are years.
pub(super) fn value_range(from: &Bound<String>, to: &Bound<String>) -> Result<ValueRange, String> {
    if matches!((from, to), (Bound::Unbounded, Bound::Unbounded)) {
        return Err(NO_END.to_owned());
    }
    let number = |text: &str| {
        let number = Number::parse(text);
        number.ok_or_else(|| format!("`{text}` is not a number"))
    };
    let period = |text: &str| Period::parse(text).ok_or_else(|| format!("`{text}` is not a date"));
    let numbers = (try_map(from, number), try_map(to, number));
    let dates = (try_map(from, period), try_map(to, period));
    let numbers = match numbers {
        (Ok(from), Ok(to)) => Some(Interval { from, to }),
        _ => None,
    };
    let dates = match dates {
        (Ok(from), Ok(to)) => Some((first_instant(from), last_instant(to))),
        _ => None,
    };
    if numbers.is_some() || dates.is_some() {
        return Ok(ValueRange { numbers, dates });
    }
    for end in [from, to] {
        if let Bound::Included(text) | Bound::Excluded(text) = end
            && Number::parse(text).is_none()
            && Period::parse(text).is_none()
        {
            return Err(format!(
                "`{text}` is neither a number nor a date as {DATES}; a value with `..` in it, or < or > before it, needs \"quotes\""
            ));
        }
    }
    Err("one end of the range is a number and the other a date; give two of a kind".to_owned())
}

fn first_instant(from: Bound<Period>) -> i128 {
    match from {
        Bound::Unbounded => i128::MIN,
        Bound::Included(period) => period.start,
        Bound::Excluded(period) => period.end,
    }
}

/// The first instant that is not within the range any more.
fn last_instant(to: Bound<Period>) -> i128 {
    match to {
        Bound::Unbounded => i128::MAX,
        Bound::Included(period) => period.end,
        Bound::Excluded(period) => period.start,
    }
}

/// A range of a field of dates, which holds them to some precision only.
pub(super) fn on_date(
    field: Field,
    comparison: &Comparison,
    precision: DateTimePrecision,
) -> Result<Box<dyn Query>, String> {
    let period = |text: &str| Period::parse(text).ok_or_else(|| format!("`{text}` is not a date as {DATES}"));
    let (from, to) = match comparison {
        Comparison::Equal(value) => {
            let period = period(value)?.whole_second();
            (period.start, period.end)
        }
        Comparison::Range { from: Bound::Unbounded, to: Bound::Unbounded } => return Err(NO_END.to_owned()),
        Comparison::Range { from, to } => (first_instant(try_map(from, period)?), last_instant(try_map(to, period)?)),
        Comparison::Exists => (i128::MIN, i128::MAX),
    };
    let unit: i128 = match precision {
        DateTimePrecision::Seconds => 1_000_000_000,
        DateTimePrecision::Milliseconds => 1_000_000,
        DateTimePrecision::Microseconds => 1000,
        DateTimePrecision::Nanoseconds => 1,
    };
    // Values were cut to the unit below them, and so are the ends.
    let from = from.max(i64::MIN.into()).div_euclid(unit) * unit;
    let to = to.min(i64::MAX.into()) - 1;
    let to = to.div_euclid(unit) * unit;
    let (Some(from), Some(to)) = (time(from.max(i64::MIN.into())), time(to)) else { return Ok(Box::new(EmptyQuery)) };
    if from > to {
        return Ok(Box::new(EmptyQuery));
    }
    let term = |date| Term::from_field_date(field, date);
    Ok(Box::new(RangeQuery::new(Bound::Included(term(from)), Bound::Included(term(to)))))
}

pub(super) fn time(instant: i128) -> Option<DateTime> {
    i64::try_from(instant).ok().map(DateTime::from_timestamp_nanos)
}

pub(super) fn try_map<T>(end: &Bound<String>, read: impl Fn(&str) -> Result<T, String>) -> Result<Bound<T>, String> {
    Ok(match end {
        Bound::Unbounded => Bound::Unbounded,
        Bound::Included(text) => Bound::Included(read(text)?),
        Bound::Excluded(text) => Bound::Excluded(read(text)?),
    })
}
