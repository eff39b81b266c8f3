//! Draws that follow from a seed: the same seed and place, the same draw, on every machine.

/// A number that looks like any other (splitmix64).
pub(super) fn mixed(seed: u64, place: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(place.wrapping_add(1)));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// From 0 to less than 1, all equally likely.
pub(super) fn uniform(seed: u64, place: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what an f64 has")]
    let bits = (mixed(seed, place) >> 11) as f64;
    bits / (1_u64 << 53) as f64
}

/// Around 0 with deviation 1, as a bell (Box and Muller).
pub(super) fn normal(seed: u64, place: u64) -> f64 {
    let radius = (-2.0 * (1.0 - uniform(seed, place)).ln()).sqrt();
    radius * (std::f64::consts::TAU * uniform(!seed, place)).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_spread_as_they_should_be() {
        let count = 20_000;
        let below = (0..count).filter(|place| uniform(7, *place) < 0.1).count();
        assert!((1_800..2_200).contains(&below), "{below}");
        let above = (0..count).filter(|place| normal(7, *place) > 2.326).count();
        assert!((150..250).contains(&above), "{above}");
    }
}
