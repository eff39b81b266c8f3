//! Numbers of two kinds: decimal ones with 28 digits, exact as far as those go, and binary ones with 15, which reach further.

use rust_decimal::prelude::ToPrimitive;
use rust_decimal::{Decimal, MathematicalOps, RoundingStrategy};

use super::expression::Literal;

/// Digits of a binary number that can be relied on.
const DIGITS: usize = 15;

/// Above this even a binary number has no factorial.
const LARGEST_FACTORIAL: u64 = 170;

/// There is no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Beyond {
    /// Not in numbers of this kind.
    Reach,
    /// Not in any; a sentence.
    Sense(String),
}

/// A kind of numbers.
pub(super) trait Number: Copy {
    fn of(literal: &Literal) -> Result<Self, Beyond>;
    fn negate(self) -> Self;
    fn add(self, other: Self) -> Result<Self, Beyond>;
    fn multiply(self, other: Self) -> Result<Self, Beyond>;
    fn divide(self, other: Self) -> Result<Self, Beyond>;
    fn remainder(self, other: Self) -> Result<Self, Beyond>;
    fn power(self, exponent: Self) -> Result<Self, Beyond>;
    /// The whole number that it is, if it is one that has a factorial.
    fn whole(self) -> Option<u64>;
    fn of_whole(whole: u64) -> Self;
    /// Of at least one argument.
    fn call(function: &str, arguments: &[Self]) -> Result<Self, Beyond>;

    fn factorial(self) -> Result<Self, Beyond> {
        let none = || Beyond::Sense("only a whole number that is not negative has a factorial".to_owned());
        let whole = self.whole().ok_or_else(none)?;
        if whole > LARGEST_FACTORIAL {
            return Err(Beyond::Reach);
        }
        (2..=whole).try_fold(Self::of_whole(1), |product, factor| {
            product.multiply(Self::of_whole(factor))
        })
    }
}

fn division_by_zero() -> Beyond {
    Beyond::Sense("there is a division by zero".to_owned())
}

impl Number for Decimal {
    fn of(literal: &Literal) -> Result<Self, Beyond> {
        match literal {
            Literal::Digits(digits) if digits.contains(['e', 'E']) => {
                Self::from_scientific(digits).map_err(|_| Beyond::Reach)
            }
            Literal::Digits(digits) => Self::from_str_exact(digits.trim_end_matches('.')).map_err(|_| Beyond::Reach),
            // They are no fractions.
            Literal::Pi | Literal::E => Err(Beyond::Reach),
        }
    }

    fn negate(self) -> Self {
        -self
    }

    fn add(self, other: Self) -> Result<Self, Beyond> {
        self.checked_add(other).ok_or(Beyond::Reach)
    }

    fn multiply(self, other: Self) -> Result<Self, Beyond> {
        let product = self.checked_mul(other).ok_or(Beyond::Reach)?;
        // Too small to be told from nothing.
        let is_lost = product.is_zero() && !self.is_zero() && !other.is_zero();
        if is_lost { Err(Beyond::Reach) } else { Ok(product) }
    }

    fn divide(self, other: Self) -> Result<Self, Beyond> {
        if other.is_zero() {
            return Err(division_by_zero());
        }
        self.checked_div(other).ok_or(Beyond::Reach)
    }

    fn remainder(self, other: Self) -> Result<Self, Beyond> {
        if other.is_zero() {
            return Err(division_by_zero());
        }
        self.checked_rem(other).ok_or(Beyond::Reach)
    }

    fn power(self, exponent: Self) -> Result<Self, Beyond> {
        let whole = exponent.to_i64().filter(|whole| Self::from(*whole) == exponent);
        let whole = whole.ok_or(Beyond::Reach)?;
        if self.is_zero() && whole < 0 {
            return Err(division_by_zero());
        }
        let power = self.checked_powi(whole).ok_or(Beyond::Reach)?;
        let is_lost = power.is_zero() && !self.is_zero();
        if is_lost { Err(Beyond::Reach) } else { Ok(power) }
    }

    fn whole(self) -> Option<u64> {
        self.to_u64().filter(|whole| Self::from(*whole) == self)
    }

    fn of_whole(whole: u64) -> Self {
        whole.into()
    }

    fn call(function: &str, arguments: &[Self]) -> Result<Self, Beyond> {
        let first = arguments.first().copied().ok_or(Beyond::Reach)?;
        match function {
            "abs" => Ok(first.abs()),
            "ceil" => Ok(first.ceil()),
            "floor" => Ok(first.floor()),
            "round" => Ok(first.round_dp_with_strategy(0, RoundingStrategy::MidpointAwayFromZero)),
            "max" => Ok(arguments.iter().copied().fold(first, Self::max)),
            "min" => Ok(arguments.iter().copied().fold(first, Self::min)),
            "sqrt" => first.sqrt().ok_or(Beyond::Reach),
            _ => Err(Beyond::Reach),
        }
    }
}

impl Number for f64 {
    fn of(literal: &Literal) -> Result<Self, Beyond> {
        match literal {
            Literal::Digits(digits) => digits.parse().map_err(|_| Beyond::Reach),
            Literal::Pi => Ok(std::f64::consts::PI),
            Literal::E => Ok(std::f64::consts::E),
        }
    }

    fn negate(self) -> Self {
        -self
    }

    fn add(self, other: Self) -> Result<Self, Beyond> {
        Ok(self + other)
    }

    fn multiply(self, other: Self) -> Result<Self, Beyond> {
        Ok(self * other)
    }

    fn divide(self, other: Self) -> Result<Self, Beyond> {
        if other == 0.0 {
            Err(division_by_zero())
        } else {
            Ok(self / other)
        }
    }

    fn remainder(self, other: Self) -> Result<Self, Beyond> {
        if other == 0.0 {
            Err(division_by_zero())
        } else {
            Ok(self % other)
        }
    }

    fn power(self, exponent: Self) -> Result<Self, Beyond> {
        Ok(self.powf(exponent))
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "numbers that are not small and whole are turned away before"
    )]
    fn whole(self) -> Option<u64> {
        let is_whole = self >= 0.0 && self.fract() == 0.0 && self <= 1e15;
        is_whole.then_some(self as u64)
    }

    #[expect(clippy::cast_precision_loss, reason = "factors of a factorial are small")]
    fn of_whole(whole: u64) -> Self {
        whole as Self
    }

    fn call(function: &str, arguments: &[Self]) -> Result<Self, Beyond> {
        let first = arguments.first().copied().ok_or(Beyond::Reach)?;
        Ok(match function {
            "abs" => first.abs(),
            "acos" => first.acos(),
            "asin" => first.asin(),
            "atan" => first.atan(),
            "ceil" => first.ceil(),
            "cos" => first.cos(),
            "exp" => first.exp(),
            "floor" => first.floor(),
            "ln" => first.ln(),
            "log10" => first.log10(),
            "log2" => first.log2(),
            "max" => arguments.iter().copied().fold(first, Self::max),
            "min" => arguments.iter().copied().fold(first, Self::min),
            "round" => first.round(),
            "sin" => first.sin(),
            "sqrt" => first.sqrt(),
            "tan" => first.tan(),
            _ => return Err(Beyond::Sense(format!("there is no `{function}`"))),
        })
    }
}

/// With the digits that can be relied on.
pub(super) fn shown(number: f64) -> String {
    let rounded = format!("{number:.precision$e}", precision = DIGITS - 1);
    let (mantissa, exponent) = rounded.split_once('e').unwrap_or((&rounded, "0"));
    let mantissa = if mantissa.contains('.') {
        mantissa.trim_end_matches('0').trim_end_matches('.')
    } else {
        mantissa
    };
    match exponent.parse::<i32>() {
        Ok(-7..=20) => format!("{mantissa}e{exponent}")
            .parse::<f64>()
            .map_or(rounded.clone(), |number| number.to_string()),
        _ => format!("{mantissa}e{exponent}"),
    }
}
