//! What tokens cost.

use crate::item::Usage;
use crate::money::Money;

/// US dollars for a million tokens of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Price {
    /// Read by the model.
    pub input: Money,
    /// Read by the model, and in the provider's cache.
    pub cached_input: Money,
    /// Read by the model, and put into the provider's cache.
    pub cache_write: Money,
    /// Written by the model.
    pub output: Money,
}

const PER: u128 = 1_000_000;

impl Price {
    /// What this use costs, rounded up to a billionth of a dollar.
    pub fn of(&self, usage: &Usage) -> Money {
        let cached = usage.cached_input_tokens.min(usage.input_tokens);
        let cache_write = usage.cache_write_input_tokens.min(usage.input_tokens - cached);
        let parts = [
            (usage.input_tokens - cached - cache_write, self.input),
            (cached, self.cached_input),
            (cache_write, self.cache_write),
            (usage.output_tokens, self.output),
        ];
        let nanos: u128 = parts
            .iter()
            .map(|(tokens, price)| u128::from(*tokens) * u128::from(price.nanos()))
            .sum();
        Money::from_nanos(u64::try_from(nanos.div_ceil(PER)).unwrap_or(u64::MAX))
    }

    /// The most that so many tokens can cost, whatever the provider's cache has or takes of the input.
    pub fn at_most(&self, input_tokens: u64, output_tokens: u64) -> Money {
        let dearest = Self {
            input: self.input.max(self.cached_input).max(self.cache_write),
            ..*self
        };
        dearest.of(&Usage::of(input_tokens, output_tokens))
    }

    /// How many output tokens this much money buys; `None` if they cost nothing.
    pub fn output_tokens_for(&self, money: Money) -> Option<u64> {
        let tokens = (u128::from(money.nanos()) * PER).checked_div(u128::from(self.output.nanos()))?;
        Some(u64::try_from(tokens).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICE: Price = Price {
        input: Money::from_nanos(2_500_000_000),
        cached_input: Money::from_nanos(250_000_000),
        cache_write: Money::from_nanos(3_125_000_000),
        output: Money::from_nanos(10_000_000_000),
    };

    #[test]
    fn each_kind_of_token_has_its_price() {
        let usage = Usage {
            cached_input_tokens: 600_000,
            ..Usage::of(1_000_000, 100_000)
        };
        assert_eq!(PRICE.of(&usage).to_string(), "$2.15");
        let usage = Usage {
            cache_write_input_tokens: 200_000,
            ..usage
        };
        assert_eq!(PRICE.of(&usage).to_string(), "$2.275");
        assert_eq!(PRICE.at_most(1_000_000, 100_000).to_string(), "$4.125");
        let more_than_there_is = Usage {
            cached_input_tokens: 3,
            cache_write_input_tokens: 3,
            ..Usage::of(4, 0)
        };
        assert_eq!(PRICE.of(&more_than_there_is).nanos(), 3 * 250 + 3_125);
        assert_eq!(PRICE.of(&Usage::of(1, 0)).nanos(), 2_500);
        assert_eq!(Price::default().of(&Usage::of(u64::MAX, u64::MAX)), Money::ZERO);
        assert_eq!(PRICE.of(&Usage::of(u64::MAX, u64::MAX)), Money::MAX);
    }

    #[test]
    fn money_buys_what_it_pays_for() {
        let dollar = Money::from_nanos(1_000_000_000);
        assert_eq!(PRICE.output_tokens_for(dollar), Some(100_000));
        assert_eq!(PRICE.of(&Usage::of(0, 100_000)), dollar);
        assert_eq!(Price::default().output_tokens_for(dollar), None);
    }
}
