//! Dates as people and programs write them.

use tantivy::time::{Date, Month};

const SECOND: i128 = 1_000_000_000;
const DAY: i64 = 24 * 60 * 60;
/// Julian day of 1970-01-01.
const EPOCH: i64 = 2_440_588;
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// From Monday on, as `Date` counts them.
pub(super) const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// A stretch of time, in nanoseconds since 1970-01-01 in UTC: a year, a month, a day, a minute, or one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Period {
    /// Its first nanosecond.
    pub(super) start: i128,
    /// The first nanosecond after it.
    pub(super) end: i128,
}

impl Period {
    /// What a date in a filter or in a document stands for; `None` for what is not a date.
    ///
    /// Read are `2024`, `2024-05`, `2024-05-31`, each alone or with a time after `T` or a space: `10:00`, `10:00:00`,
    /// `10:00:00.123`, and with a zone after that: `Z`, `UTC`, `GMT`, `+02`, `+0200`, `+02:00`. Without a zone, UTC is
    /// meant. E-mail's form is read too: `Fri, 31 May 2024 10:00:00 +0200`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut reader = Reader(text);
        let period = reader.iso().or_else(|| {
            reader = Reader(text);
            reader.mail()
        })?;
        reader.0.is_empty().then_some(period)
    }

    /// The same, or the whole second of an instant: a single value stands for its second.
    pub(super) fn whole_second(self) -> Self {
        if self.end - self.start >= SECOND {
            return self;
        }
        let start = self.start.div_euclid(SECOND) * SECOND;
        Self { start, end: start + SECOND }
    }
}

/// The beginning of what a date in a document stands for, for a field of dates; `None` for what is not a date or out of reach of
/// tantivy (years 1678 to 2261).
pub(crate) fn instant(text: &str) -> Option<tantivy::DateTime> {
    let nanoseconds = i64::try_from(Period::parse(text)?.start).ok()?;
    Some(tantivy::DateTime::from_timestamp_nanos(nanoseconds))
}

/// The day that an instant falls on, in UTC, as `2024-05-31`; `None` outside the years 1 to 9998.
pub(super) fn day_of(instant: i128, days_later: i64) -> Option<String> {
    let days = i64::try_from(instant.div_euclid(SECOND * i128::from(DAY))).ok()?.checked_add(days_later)?;
    let date = Date::from_julian_day(i32::try_from(days.checked_add(EPOCH)?).ok()?).ok()?;
    let (year, month, day) = date.to_calendar_date();
    (1..=9998).contains(&year).then(|| format!("{year:04}-{:02}-{day:02}", u8::from(month)))
}

/// What of a text is still to be read.
struct Reader<'a>(&'a str);

impl Reader<'_> {
    /// So many digits.
    fn digits(&mut self, count: usize) -> Option<i64> {
        let digits = self.0.get(..count)?;
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        self.0 = &self.0[count..];
        digits.parse().ok()
    }

    fn take(&mut self, sign: &str) -> bool {
        let rest = self.0.strip_prefix(sign);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn take_any(&mut self, signs: &[&str]) -> bool {
        signs.iter().any(|sign| self.take(sign))
    }

    fn iso(&mut self) -> Option<Period> {
        let year = self.digits(4)?;
        if self.0.is_empty() {
            return Some(days(midnight(year, 1, 1)?, midnight(year + 1, 1, 1)));
        }
        if !self.take("-") {
            return None;
        }
        let month = self.digits(2)?;
        if self.0.is_empty() {
            let next = if month == 12 { midnight(year + 1, 1, 1) } else { midnight(year, month + 1, 1) };
            return Some(days(midnight(year, month, 1)?, next));
        }
        if !self.take("-") {
            return None;
        }
        let day = midnight(year, month, self.digits(2)?)?;
        if self.0.is_empty() {
            return Some(days(day, Some(day + DAY)));
        }
        if !self.take_any(&["T", "t", " "]) {
            return None;
        }
        self.time(day)
    }

    fn mail(&mut self) -> Option<Period> {
        let weekday = WEEKDAYS.iter().position(|name| self.take(name))?;
        if !self.take(", ") {
            return None;
        }
        let two = self.0.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
        let day = self.digits(if two { 2 } else { 1 })?;
        if !self.take(" ") {
            return None;
        }
        let month = MONTHS.iter().position(|name| self.take(name))?;
        if !self.take(" ") {
            return None;
        }
        let midnight = midnight(self.digits(4)?, month as i64 + 1, day)?;
        // 1970-01-01 was a Thursday.
        if (midnight / DAY + 3).rem_euclid(7) != weekday as i64 || !self.take(" ") {
            return None;
        }
        self.time(midnight)
    }

    /// `10:00`, `10:00:00` or `10:00:00.123`, with a zone or without.
    fn time(&mut self, midnight: i64) -> Option<Period> {
        let hour = self.digits(2).filter(|hour| *hour < 24)?;
        if !self.take(":") {
            return None;
        }
        let minute = self.digits(2).filter(|minute| *minute < 60)?;
        let mut seconds = midnight + hour * 3600 + minute * 60;
        let (mut nanoseconds, mut length) = (0, 60 * SECOND);
        let mut is_leap = false;
        if self.take(":") {
            length = 1;
            let second = self.digits(2)?;
            // A leap second stands for the last moment of the second before it.
            is_leap = second == 60;
            seconds += if is_leap { 59 } else { Some(second).filter(|second| *second < 60)? };
            if self.take_any(&[".", ","]) {
                let count = self.0.bytes().take_while(u8::is_ascii_digit).count();
                let (fraction, rest) = self.0.split_at_checked(count).filter(|_| count > 0)?;
                self.0 = rest;
                nanoseconds = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
            }
        }
        let shift = self.zone()?;
        seconds -= shift;
        if is_leap {
            if seconds.rem_euclid(DAY) != DAY - 1 {
                return None;
            }
            nanoseconds = SECOND - 1;
        }
        let start = i128::from(seconds) * SECOND + nanoseconds;
        Some(Period { start, end: start + length })
    }

    /// Seconds that a zone is ahead of UTC; 0 where none is named.
    fn zone(&mut self) -> Option<i64> {
        if self.0.is_empty() {
            return Some(0);
        }
        self.take(" ");
        if self.take_any(&["Z", "z", "UTC", "GMT", "UT"]) {
            return Some(0);
        }
        let sign = if self.take("+") {
            1
        } else if self.take("-") {
            -1
        } else {
            return None;
        };
        let hours = self.digits(2).filter(|hours| *hours < 24)?;
        let mut seconds = hours * 3600;
        if !self.0.is_empty() {
            let colon = self.take(":");
            seconds += self.digits(2).filter(|minutes| *minutes < 60)? * 60;
            // Zones of before there were zones, as Python writes them.
            if colon && self.take(":") {
                seconds += self.digits(2).filter(|seconds| *seconds < 60)?;
            }
        }
        Some(sign * seconds)
    }
}

/// Seconds from 1970 to the start of a day; `None` where there is no such day.
fn midnight(year: i64, month: i64, day: i64) -> Option<i64> {
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    let date = Date::from_calendar_date(i32::try_from(year).ok()?, month, u8::try_from(day).ok()?).ok()?;
    Some((i64::from(date.to_julian_day()) - EPOCH) * DAY)
}

/// From one midnight to before another; the calendar has no midnight after the year 9999.
fn days(start: i64, end: Option<i64>) -> Period {
    const END: i64 = 253_402_300_800;
    Period { start: i128::from(start) * SECOND, end: i128::from(end.unwrap_or(END)) * SECOND }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_in_all_forms() {
        let instant = |text: &str| Period::parse(text).map(|period| period.start);
        let ten = 1_717_149_600 * SECOND;
        for text in [
            "2024-05-31T10:00:00Z",
            "2024-05-31t10:00:00z",
            "2024-05-31T10:00",
            "2024-05-31 10:00",
            "2024-05-31 10:00:00",
            "2024-05-31 10:00:00.000",
            "2024-05-31T10:00:00.000000+00:00",
            "2024-05-31 12:00:00.000+02",
            "2024-05-31 12:00:00+0200",
            "2024-05-31 12:00:00 +02:00",
            "2024-05-31T05:30-04:30",
            "2024-05-31 10:00:00 UTC",
            "Fri, 31 May 2024 10:00:00 GMT",
            "Fri, 31 May 2024 12:00:00 +0200",
            "Fri, 31 May 2024 10:00 UT",
        ] {
            assert_eq!(instant(text), Some(ten), "{text}");
        }
        assert_eq!(instant("2024-05-31T10:00:00.5Z"), Some(ten + SECOND / 2));
        assert_eq!(instant("2024-05-31T10:00:00,123456789123Z"), Some(ten + 123_456_789));
        assert_eq!(instant("1969-12-31T23:59:59.5Z"), Some(-SECOND / 2));
        assert_eq!(instant("2016-12-31T23:59:60Z"), Some(1_483_228_800 * SECOND - 1));
        assert_eq!(instant("2017-01-01T00:59:60+01:00"), Some(1_483_228_800 * SECOND - 1));
        assert!(instant("9999-12-31T23:59:59-05:00").is_some() && instant("0000-01-01T00:00:00+05:00").is_some());
        for text in [
            "",
            "today",
            "20240531",
            "2024-5-31",
            "2024-02-30",
            "2023-02-29",
            "2024-13",
            "2024-00-10",
            "2024-05-31x",
            "2024-05-31T",
            "2024-05-31T10",
            "2024-05-31T24:00:00",
            "2024-05-31T10:60",
            "2024-05-31T10:00:61Z",
            "2024-05-31T10:00:60Z",
            "2024-05-31T10:00:00.Z",
            "2024-05-31T10:00:00+24:00",
            "2024-05-31T10:00:00 Europe/Berlin",
            " 2024-05-31",
            "2024-05-31 ",
            "12024-05-31",
            "Thu, 31 May 2024 10:00:00 GMT",
            "Fri 31 May 2024 10:00:00 GMT",
            "31 May 2024 10:00:00 GMT",
            "31/05/2024",
            "２０２４-05-31",
            "2024-é5",
        ] {
            assert_eq!(instant(text), None, "{text}");
        }
    }

    #[test]
    fn periods_have_calendar_lengths() {
        let length = |text: &str| Period::parse(text).map(|period| (period.end - period.start) / SECOND).unwrap();
        for (text, seconds) in [
            ("2024", 366 * DAY),
            ("2023", 365 * DAY),
            ("9999", 365 * DAY),
            ("2024-02", 29 * DAY),
            ("9999-12", 31 * DAY),
            ("2024-12", 31 * DAY),
            ("2024-05-31", DAY),
            ("2024-05-31T10:00", 60),
            ("2024-05-31T10:00:00", 0),
        ] {
            assert_eq!(length(text), i128::from(seconds), "{text}");
        }
        let second = |text: &str| Period::parse(text).unwrap().whole_second();
        assert_eq!(second("1969-12-31T23:59:59.5Z"), second("1969-12-31T23:59:59Z"));
        assert_eq!(day_of(0, -1).as_deref(), Some("1969-12-31"));
        assert_eq!(day_of(-1, 0).as_deref(), Some("1969-12-31"));
        assert_eq!(day_of(i128::MAX, 0), None);
    }
}
