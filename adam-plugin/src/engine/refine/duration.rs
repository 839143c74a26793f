//! Lengths of time as people write them.

use std::time::Duration;

/// Units with their seconds. A month has no fixed length.
const UNITS: [(&str, f64); 6] =
    [("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86400.0), ("w", 604_800.0), ("y", 31_536_000.0)];

/// `30d`, `12h`, `1.5w`: a number with its unit.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("`{text}` is not a length of time; write a number and its unit, s, m, h, d, w or y, such as 30d");
    let text = text.trim();
    let (number, seconds) =
        UNITS.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds))).ok_or_else(wrong)?;
    let number: f64 = number.trim_end().parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_with_their_unit() {
        assert_eq!(parse("30d").unwrap(), Duration::from_secs(30 * 86400));
        assert_eq!(parse(" 1.5 h").unwrap(), Duration::from_secs(5400));
        for wrong in ["", "30", "d", "-1d", "1e400d", "30 days", "nand", "infd"] {
            assert!(parse(wrong).unwrap_err().contains("such as 30d"), "{wrong}");
        }
    }
}
