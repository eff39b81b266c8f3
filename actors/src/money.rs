//! US dollars, exact to a billionth: a token of a cheap model costs less than a millionth.

use std::fmt;
use std::ops::AddAssign;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An amount of US dollars: never negative, exact to 1e-9, at most [`Money::MAX`]; sums stop there. A JSON number of dollars.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money {
    nanos: u64,
}

const NANOS_PER_DOLLAR: u64 = 1_000_000_000;

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self { nanos: 0 };

    /// About nine million dollars: what a JSON number can hold exactly, and a store's 64-bit integer as well.
    pub const MAX: Self = Self { nanos: (1 << 53) - 1 };

    /// So many billionths of a dollar, at most [`Money::MAX`].
    pub const fn from_nanos(nanos: u64) -> Self {
        if nanos > Self::MAX.nanos {
            Self::MAX
        } else {
            Self { nanos }
        }
    }

    /// `None` if it is negative, not a number, or more than [`Money::MAX`].
    pub fn from_dollars(dollars: f64) -> Option<Self> {
        let nanos = (dollars * NANOS_PER_DOLLAR as f64).round();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to be in range"
        )]
        let in_range = (nanos >= 0.0 && nanos <= Self::MAX.nanos as f64).then_some(nanos as u64);
        in_range.map(Self::from_nanos)
    }

    /// Billionths of a dollar.
    pub const fn nanos(self) -> u64 {
        self.nanos
    }

    /// Dollars; exact, see [`Money::MAX`], but for the usual rounding of decimal fractions.
    pub fn dollars(self) -> f64 {
        self.nanos as f64 / NANOS_PER_DOLLAR as f64
    }

    /// Whether it is nothing.
    pub const fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    /// The sum, at most [`Money::MAX`].
    pub const fn plus(self, other: Self) -> Self {
        Self::from_nanos(self.nanos.saturating_add(other.nanos))
    }

    /// The difference, nothing if it would be negative.
    pub const fn minus(self, other: Self) -> Self {
        Self {
            nanos: self.nanos.saturating_sub(other.nanos),
        }
    }
}

impl AddAssign for Money {
    fn add_assign(&mut self, other: Self) {
        *self = self.plus(other);
    }
}

impl fmt::Display for Money {
    /// `$1.25`, with as many decimals as are needed, at least two.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (dollars, fraction) = (self.nanos / NANOS_PER_DOLLAR, self.nanos % NANOS_PER_DOLLAR);
        let digits = format!("{fraction:09}");
        let needed = digits.trim_end_matches('0').len().max(2);
        write!(formatter, "${dollars}.{}", &digits[..needed])
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.dollars())
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let dollars = f64::deserialize(deserializer)?;
        Self::from_dollars(dollars).ok_or_else(|| {
            serde::de::Error::custom(format_args!(
                "an amount of dollars is a number from 0 to {}",
                Self::MAX.dollars()
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_keep_their_billionths_over_json() {
        for nanos in [
            0,
            1,
            150,
            999_999_999,
            1_000_000_001,
            123_456_789_012_345,
            Money::MAX.nanos(),
        ] {
            let money = Money::from_nanos(nanos);
            let text = serde_json::to_string(&money).expect("a number");
            let back: Money = serde_json::from_str(&text).expect("the same number");
            assert_eq!(back, money, "{text}");
        }
        for wrong in ["-1", "1e300", "\"1\"", "null"] {
            assert!(serde_json::from_str::<Money>(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Money::from_dollars(f64::NAN), None);
    }

    #[test]
    fn amounts_are_shown_with_the_decimals_they_have() {
        let shown = |nanos| Money::from_nanos(nanos).to_string();
        assert_eq!(shown(1_500_000_000), "$1.50");
        assert_eq!(shown(150), "$0.00000015");
        assert_eq!(Money::MAX.plus(Money::MAX), Money::MAX);
        assert_eq!(Money::ZERO.minus(Money::MAX), Money::ZERO);
    }
}
