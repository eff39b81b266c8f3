//! What our charts look like. `examples/fleet` and `examples/rate_limits` draw with it, too.

#![allow(dead_code, reason = "each program that includes it uses a part of it")]

use plotters::style::RGBColor;

pub(crate) const FONT: &str = "sans-serif";
pub(crate) const INK: RGBColor = RGBColor(0x22, 0x2b, 0x38);
pub(crate) const FAINT: RGBColor = RGBColor(0x74, 0x7f, 0x8d);
pub(crate) const GRID: RGBColor = RGBColor(0xe6, 0xe9, 0xee);
pub(crate) const MET: RGBColor = RGBColor(0x1a, 0x85, 0x57);
pub(crate) const MISSED: RGBColor = RGBColor(0xc4, 0x32, 0x32);
/// Told apart by people who see fewer colours, too (after Okabe and Ito).
pub(crate) const LINES: [RGBColor; 5] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0x56, 0xb4, 0xe9),
];
