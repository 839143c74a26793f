//! Boosts: what a document's fields do to its score.

use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tantivy::{DateTime, Searcher};
use tantivy_dense::hybrid::{Boost as ScoreBoost, Combine, Curve, Decay};

use super::duration;
use super::fields::Kind;
use crate::engine::Engine;
use crate::error::PluginError;
use crate::filter::{self, Filter};

/// What makes a signal of a field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum BoostFunction {
    /// 1 at the origin, falling in a straight line with the distance, to 0.
    Linear,
    /// 1 at the origin, falling by the same share for each step.
    Exponential,
    /// 1 at the origin, falling slowly near it, then quickly.
    Gaussian,
    /// `ln(1 + factor * value)`.
    Log,
    /// `value / (value + pivot)`.
    Saturation,
}

/// How a signal and the score become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Combination {
    /// The score is multiplied by `1 + weight * (signal - 1)`.
    #[default]
    Multiply,
    /// `weight * signal` is added to the score.
    Add,
}

/// A number, or a text such as a date or a length of time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum NumberOrText {
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
}

impl NumberOrText {
    fn text(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }

    fn number(&self, name: &str) -> Result<f64, String> {
        match self {
            Self::Number(number) => Ok(*number),
            Self::Text(text) => {
                filter::number(text).ok_or_else(|| format!("`{name}` must be a number here, and is `{text}`"))
            }
        }
    }
}

/// A boost: a signal made of a field's value, or of a filter that matches, and how it changes the score. It acts on the fused score; see
/// [`tantivy_dense::hybrid::shaping`] for the formulas.
///
/// As text, settings are joined by semicolons, `function` first in short:
///
/// | text | does |
/// |---|---|
/// | `gaussian; field=released; origin=now; scale=30d` | halves the score of what was released 30 days ago, and lowers it further beyond |
/// | `exponential; field=price; origin=20; scale=10; offset=5; decay=0.3` | 1 from 15 to 25, 0.3 at 5 and 35 |
/// | `log; field=sold; factor=0.1; combine=add; weight=0.2` | adds `0.2 * ln(1 + 0.1 * sold)` |
/// | `saturation; field=stars; pivot=3; weight=0.5` | between half and all of the score |
/// | `filter=brand:acme; factor=1.5` | half as much again for what matches |
///
/// With a length of time as `scale` (`30d`, `12h`; s, m, h, d, w, y) the values are dates, else numbers.
///
/// ```
/// use adam_plugin::engine::Boost;
///
/// let boost: Boost = "gaussian; field=released; origin=2024-05-31; scale=30d".parse()?;
/// assert_eq!(boost.field.as_deref(), Some("released"));
/// assert!("gaussian; feild=released".parse::<Boost>().is_err());
/// # Ok::<(), adam_plugin::PluginError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Boost {
    /// What makes the signal; left out where `filter` does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<BoostFunction>,
    /// The field or name in metadata that it reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Instead of a function of a field: a filter, whose signal is `factor` where it matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Where a decay is 1: a number, a date, or `now`. `now` if not said and `scale` is a length of time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<NumberOrText>,
    /// The distance at which a decay is `decay`: a number, or a length of time such as `30d`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<NumberOrText>,
    /// The distance up to which a decay is 1. 0 if not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<NumberOrText>,
    /// The signal at `scale`, above 0 and below 1. 0.5 if not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay: Option<f64>,
    /// What `log` multiplies values by, 1 if not said; the signal of a filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub factor: Option<f64>,
    /// The value at which `saturation` is 0.5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pivot: Option<f64>,
    /// The signal of documents without the value, or that do not match. If not said, they keep their score.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<f64>,
    /// How much it counts: 0 to 1 where it is multiplied, any number where it is added. 1 if not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// Multiplied or added.
    pub combine: Combination,
}

impl FromStr for Boost {
    type Err = PluginError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse =
            |problem: String| PluginError::Query { problem: format!("the boost `{}`: {problem}", start(text)) };
        if text.trim_start().starts_with('{') {
            return serde_json::from_str(text).map_err(|fault| refuse(fault.to_string()));
        }
        let mut settings = Map::new();
        for (at, part) in text.split(';').map(str::trim).filter(|part| !part.is_empty()).enumerate() {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name.trim(), value.trim()),
                None if at == 0 => ("function", part),
                None => return Err(refuse(format!("`{part}` is no setting; write NAME=VALUE, joined by semicolons"))),
            };
            let is_text = ["function", "field", "filter", "combine"].contains(&name);
            let number = value.parse::<f64>().ok().filter(|_| !is_text).and_then(serde_json::Number::from_f64);
            let value = number.map_or_else(|| Value::String(value.to_owned()), Value::Number);
            if settings.insert(name.to_owned(), value).is_some() {
                return Err(refuse(format!("`{name}` comes twice")));
            }
        }
        serde_json::from_value(Value::Object(settings)).map_err(|fault| refuse(fault.to_string()))
    }
}

impl Engine {
    /// A request's boost for an index.
    pub(super) fn boost(
        &self,
        searcher: &Searcher,
        boost: &Boost,
        now: Option<i64>,
    ) -> Result<ScoreBoost, PluginError> {
        let refuse = |problem: String| PluginError::Query { problem: format!("a boost {problem}") };
        let made = match (boost.function, &boost.field, &boost.filter) {
            (Some(function), Some(field), None) => {
                self.boost_by_value(searcher, (boost, now), function, field, &refuse)?
            }
            (None, None, Some(source)) => {
                boost.only(&["filter", "factor"]).map_err(&refuse)?;
                let factor = boost.factor.ok_or_else(|| refuse("by a filter needs its `factor`".to_owned()))?;
                let filter = Filter::parse(source)?;
                let query = filter.query(&self.index, self.manifest.layout.metadata.as_deref())?;
                ScoreBoost::matching(query, start(source), factor)
            }
            (None, Some(_), None) => {
                let functions = "linear, exponential, gaussian, log or saturation";
                return Err(refuse(format!("by a field needs its `function`: {functions}")));
            }
            _ => {
                return Err(refuse("needs either a `function` and a `field`, or a `filter` and a `factor`".to_owned()));
            }
        };
        let made = made.weight(boost.weight.unwrap_or(1.0)).combine(match boost.combine {
            Combination::Multiply => Combine::Multiply,
            Combination::Add => Combine::Add,
        });
        Ok(match boost.missing {
            Some(signal) => made.missing(signal),
            None => made,
        })
    }

    fn boost_by_value(
        &self,
        searcher: &Searcher,
        (boost, now): (&Boost, Option<i64>),
        function: BoostFunction,
        field: &str,
        refuse: &dyn Fn(String) -> PluginError,
    ) -> Result<ScoreBoost, PluginError> {
        let curve = match function {
            BoostFunction::Log => {
                boost.only(&["function", "field", "factor"]).map_err(refuse)?;
                let numbers = self.value_field(searcher, field, Kind::Numbers)?;
                return Ok(ScoreBoost::logarithm(numbers, boost.factor.unwrap_or(1.0)));
            }
            BoostFunction::Saturation => {
                boost.only(&["function", "field", "pivot"]).map_err(refuse)?;
                let pivot =
                    boost.pivot.ok_or_else(|| refuse(format!("by saturation of `{field}` needs its `pivot`")))?;
                return Ok(ScoreBoost::saturation(self.value_field(searcher, field, Kind::Numbers)?, pivot));
            }
            BoostFunction::Linear => Curve::Linear,
            BoostFunction::Exponential => Curve::Exponential,
            BoostFunction::Gaussian => Curve::Gaussian,
        };
        boost.only(&["function", "field", "origin", "scale", "offset", "decay"]).map_err(refuse)?;
        let by = |problem: String| refuse(format!("by decay of `{field}`: {problem}"));
        let scale = boost.scale.as_ref().ok_or_else(|| by("it needs its `scale`".to_owned()))?;
        // A length of time has a unit.
        let is_time = matches!(scale, NumberOrText::Text(text) if filter::number(text).is_none());
        let (decay, kind) = if is_time {
            let origin = boost.origin.as_ref().map_or_else(|| "now".to_owned(), NumberOrText::text);
            let scale = duration::parse(&scale.text()).map_err(|problem| by(format!("`scale`: {problem}")))?;
            let mut decay = Decay::from_date(curve, instant(&origin, now).map_err(&by)?, scale);
            if let Some(offset) = &boost.offset {
                let offset = match offset {
                    NumberOrText::Number(0.0) => std::time::Duration::ZERO,
                    other => duration::parse(&other.text()).map_err(|problem| by(format!("`offset`: {problem}")))?,
                };
                decay = decay.offset(offset.as_secs_f64());
            }
            (decay, Kind::Dates)
        } else {
            let origin = boost.origin.as_ref();
            let origin = origin
                .ok_or_else(|| by("it needs its `origin`, a number, or a length of time as `scale`".to_owned()))?;
            let origin = origin
                .number("origin")
                .map_err(|problem| by(format!("{problem}; with dates, `scale` is a length of time such as 30d")))?;
            let mut decay = Decay::from_number(curve, origin, scale.number("scale").map_err(&by)?);
            if let Some(offset) = &boost.offset {
                decay = decay.offset(offset.number("offset").map_err(&by)?);
            }
            (decay, Kind::Numbers)
        };
        let decay = match boost.decay {
            Some(signal) => decay.at_scale(signal),
            None => decay,
        };
        Ok(ScoreBoost::decay(self.value_field(searcher, field, kind)?, decay))
    }
}

impl Boost {
    /// Refuses settings that its kind of boost does not know.
    fn only(&self, known: &[&str]) -> Result<(), String> {
        let there = [
            ("function", self.function.is_some()),
            ("field", self.field.is_some()),
            ("filter", self.filter.is_some()),
            ("origin", self.origin.is_some()),
            ("scale", self.scale.is_some()),
            ("offset", self.offset.is_some()),
            ("decay", self.decay.is_some()),
            ("factor", self.factor.is_some()),
            ("pivot", self.pivot.is_some()),
        ];
        match there.iter().find(|(name, is_there)| *is_there && !known.contains(name)) {
            Some((name, _)) => Err(format!(
                "has `{name}`, which this kind does not know; it knows {}, missing, weight and combine",
                known.join(", ")
            )),
            None => Ok(()),
        }
    }
}

/// A date, or now, which a walk over pages keeps.
fn instant(text: &str, now: Option<i64>) -> Result<DateTime, String> {
    if text == "now" {
        let since = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        // tantivy's dates end in 2262.
        const LAST: i64 = 9_000_000_000;
        let seconds = now.unwrap_or_else(|| i64::try_from(since()).unwrap_or(LAST));
        return Ok(DateTime::from_timestamp_secs(seconds.clamp(-LAST, LAST)));
    }
    filter::instant(text).ok_or_else(|| {
        format!(
            "the origin `{}` is no date; write `now`, or a date such as 2024-05-31 or 2024-05-31T10:00:00Z",
            start(text)
        )
    })
}

fn start(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boosts_are_read_from_text_as_from_json() {
        let typed: Boost =
            "gaussian; field=released; origin=2024-05-31; scale=30d; weight=0.5; combine=add".parse().unwrap();
        let json: Boost = serde_json::from_str(
            r#"{"function": "gaussian", "field": "released", "origin": "2024-05-31", "scale": "30d", "weight": 0.5, "combine": "add"}"#,
        )
        .unwrap();
        assert_eq!(typed, json);
        let filter: Boost = "filter=year >= 2019 AND brand:acme; factor=1.5".parse().unwrap();
        assert_eq!(filter.filter.as_deref(), Some("year >= 2019 AND brand:acme"));
        let again: Boost = serde_json::to_string(&typed).unwrap().parse().unwrap();
        assert_eq!(again, typed);
    }

    #[test]
    fn what_is_no_boost_is_named() {
        for (text, said) in [
            ("gaussian; feild=x", "feild"),
            ("gauss; field=x", "gauss"),
            ("gaussian; field", "`field` is no setting"),
            ("log; field=x; field=y", "comes twice"),
            ("log; field=x; factor=many", "factor"),
            ("{\"field\": 3}", "string"),
        ] {
            let error = text.parse::<Boost>().unwrap_err().to_string();
            assert!(error.contains(said) || said == "factor" && error.contains("many"), "{text}: {error}");
        }
    }
}
