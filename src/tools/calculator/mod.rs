//! `calculator`: works an expression out, exactly where that is possible.
//!
//! The expression comes from a model, and so from whoever wrote to it. The evaluators that there are can be made to loop, to fill memory or to
//! overflow the stack, which ends the process; so this one is ours. It takes one pass over the text and one over what that becomes, calls
//! itself nowhere, and every number has a fixed size.

mod expression;
mod number;

use async_trait::async_trait;
use callboard_actors::ports::{RetryClass, Tool, ToolCall, ToolDefinition, ToolError};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::json;

use expression::{Expression, FUNCTIONS};
use number::{Beyond, shown};

/// Bytes of an expression.
const LONGEST_EXPRESSION: usize = 2000;

pub(super) struct Calculator;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    expression: String,
}

#[async_trait]
impl Tool for Calculator {
    fn definition(&self) -> ToolDefinition {
        ToolDefinition {
            name: "calculator".into(),
            description: format!(
                "Works out an arithmetic expression, such as \"(1.5 + 2)^3 / sqrt(2)\". There are + - * / % (remainder) ^ (power) ! \
                 (factorial), the numbers pi and e, and the functions {}. Angles are in radians.",
                FUNCTIONS.join(", ")
            ),
            parameters: json!({
                "type": "object",
                "properties": {"expression": {"type": "string", "minLength": 1, "maxLength": LONGEST_EXPRESSION}},
                "required": ["expression"],
                "additionalProperties": false
            }),
        }
    }

    fn retry_class(&self) -> RetryClass {
        RetryClass::Safe
    }

    async fn call(&self, call: ToolCall) -> Result<String, ToolError> {
        let Arguments { expression } = super::arguments(call.arguments)?;
        work_out(&expression).map_err(ToolError::new)
    }
}

/// The result, or a sentence for the model.
fn work_out(text: &str) -> Result<String, String> {
    if text.len() > LONGEST_EXPRESSION {
        return Err(format!("an expression has at most {LONGEST_EXPRESSION} bytes"));
    }
    let expression = Expression::parse(text)?;
    match expression.evaluate::<Decimal>() {
        Ok(exact) => return Ok(exact.normalize().to_string()),
        Err(Beyond::Sense(problem)) => return Err(problem),
        // Too large, too small, or no fraction: it is worked out in binary, with 15 digits.
        Err(Beyond::Reach) => {}
    }
    match expression.evaluate::<f64>() {
        Ok(number) if number.is_finite() => Ok(shown(number)),
        Ok(number) if number.is_nan() => Err("this has no result among the real numbers".to_owned()),
        Ok(_) | Err(Beyond::Reach) => Err("the result is too large".to_owned()),
        Err(Beyond::Sense(problem)) => Err(problem),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_worked_out() {
        for (expression, result) in [
            ("0.1 + 0.2", "0.3"),
            ("(1.5 + 2)^3", "42.875"),
            ("2^64", "18446744073709551616"),
            ("123456789 * 987654321", "121932631112635269"),
            ("20!", "2432902008176640000"),
            ("30!", "2.65252859812191e32"),
            ("2 + 3 * 4 ^ 2 / 8 - 1", "7"),
            ("2^3^2", "512"),
            ("-2^2", "-4"),
            ("2^-1", "0.5"),
            ("--3", "3"),
            ("7 % 3 + 10 % 4", "3"),
            ("-7 % 3", "-1"),
            ("1 / 3", "0.3333333333333333333333333333"),
            ("sqrt(16) + max(1, 5, 3) - min(2, 4)", "7"),
            ("sqrt(2)", "1.4142135623730950488016887242"),
            ("sin(pi / 2) + ln(e)", "2"),
            ("round(2.5) + floor(-0.5) + ceil(0.2)", "3"),
            ("1.5e3 + .5 + 1_000", "2500.5"),
            ("10^300 * 10^-300", "1"),
            ("5 × 4 ÷ 2 − 1", "9"),
            ("2 ** 3", "8"),
            ("3!!", "720"),
        ] {
            assert_eq!(work_out(expression).as_deref(), Ok(result), "{expression}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (expression, problem) in [
            ("", "ends too early"),
            ("1 +", "ends too early"),
            ("(1", "not closed"),
            ("1)", "not opened"),
            ("1 2", "an operator"),
            ("1 * / 2", "a number"),
            ("x + 1", "no `x`"),
            ("sqrt 4", "brackets"),
            ("sqrt()", "a number"),
            ("sqrt(1, 2)", "takes 1"),
            ("min()", "a number"),
            ("(1, 2)", "a function"),
            ("1 / 0", "division by zero"),
            ("1 % 0", "division by zero"),
            ("sqrt(-1)", "real numbers"),
            ("(-8)^0.5", "real numbers"),
            ("10^10^10", "too large"),
            ("(0-1)!", "whole number"),
            ("1.5!", "whole number"),
            ("1.2.3", "no number"),
            ("1 = 1", "no '='"),
            ("\u{1f600}", "no '"),
        ] {
            let told = work_out(expression).expect_err(expression);
            assert!(told.contains(problem), "{expression}: {told}");
        }
    }

    #[test]
    fn nothing_keeps_it_busy_or_brings_it_down() {
        let half = LONGEST_EXPRESSION / 2;
        let deepest = [
            format!("{}1{}", "(".repeat(half - 1), ")".repeat(half - 1)),
            "(".repeat(LONGEST_EXPRESSION),
            "-".repeat(LONGEST_EXPRESSION),
            format!("2{}", "^2".repeat(half - 1)),
            format!("9{}", "!".repeat(LONGEST_EXPRESSION - 1)),
            format!("{}1{}", "sin(".repeat(300), ")".repeat(300)),
            "9".repeat(LONGEST_EXPRESSION),
            format!("max({})", "1,".repeat(half - 5)),
            "9999999999!".to_owned(),
            "1.0000001^9999999999999999".to_owned(),
        ];
        for expression in deepest {
            let began = std::time::Instant::now();
            // On far less stack than any thread has.
            let working = std::thread::Builder::new().stack_size(128 * 1024);
            let working = working.spawn({
                let expression = expression.clone();
                move || work_out(&expression)
            });
            let _ = working.expect("a thread").join().expect("no panic");
            assert!(began.elapsed().as_secs() < 5, "{expression:.30}");
        }
    }
}
