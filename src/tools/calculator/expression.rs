//! From text to steps: Dijkstra's shunting yard.

use super::number::{Beyond, Number};

/// What can be called. The last two take any number of arguments, the others one.
pub(super) const FUNCTIONS: [&str; 17] = [
    "abs", "acos", "asin", "atan", "ceil", "cos", "exp", "floor", "ln", "log10", "log2", "round", "sin", "sqrt", "tan",
    "max", "min",
];

/// A step on a stack of numbers.
#[derive(Debug, Clone, PartialEq)]
enum Step {
    Push(Literal),
    Negate,
    Factorial,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Power,
    /// With so many arguments.
    Call(&'static str, usize),
}

/// A number as it is written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Digits(String),
    Pi,
    E,
}

/// What waits for the part behind it.
enum Pending {
    Operator(Step, u8),
    Bracket,
    /// The brackets of a function, with so many commas so far.
    Function(&'static str, usize),
}

/// An expression as steps.
#[derive(Debug, PartialEq)]
pub(super) struct Expression(Vec<Step>);

impl Expression {
    /// The error is a sentence.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parsing = Parsing::default();
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            rest = if first.is_ascii_digit() || first == '.' {
                parsing.number(rest)?
            } else if first.is_ascii_alphabetic() {
                parsing.name(rest)?
            } else {
                parsing.sign(rest, first)?
            };
            rest = rest.trim_start();
        }
        parsing.finish()
    }

    /// Takes the steps.
    pub(super) fn evaluate<N: Number>(&self) -> Result<N, Beyond> {
        let mut stack: Vec<N> = Vec::new();
        for step in &self.0 {
            let result = match step {
                Step::Push(literal) => N::of(literal)?,
                Step::Call(name, count) => {
                    let arguments = stack.split_off(stack.len().saturating_sub(*count));
                    N::call(name, &arguments)?
                }
                Step::Negate => taken(&mut stack)?.negate(),
                Step::Factorial => taken(&mut stack)?.factorial()?,
                binary => {
                    let right = taken(&mut stack)?;
                    let left = taken(&mut stack)?;
                    match binary {
                        Step::Add => left.add(right)?,
                        Step::Subtract => left.add(right.negate())?,
                        Step::Multiply => left.multiply(right)?,
                        Step::Divide => left.divide(right)?,
                        Step::Remainder => left.remainder(right)?,
                        _ => left.power(right)?,
                    }
                }
            };
            stack.push(result);
        }
        taken(&mut stack)
    }
}

/// The steps were made so that there is one.
fn taken<N>(stack: &mut Vec<N>) -> Result<N, Beyond> {
    stack
        .pop()
        .ok_or_else(|| Beyond::Sense("the expression ends too early".to_owned()))
}

#[derive(Default)]
struct Parsing {
    steps: Vec<Step>,
    pending: Vec<Pending>,
    /// Whether a number stands before what comes: then an operator has to follow, else a number.
    has_number: bool,
}

impl Parsing {
    /// Something that begins a number.
    fn operand(&mut self) -> Result<(), String> {
        if self.has_number {
            return Err("there must be an operator between two numbers".to_owned());
        }
        Ok(())
    }

    fn number<'text>(&mut self, text: &'text str) -> Result<&'text str, String> {
        self.operand()?;
        let is_digit = |character: char| character.is_ascii_digit() || matches!(character, '.' | '_');
        let mut end = text.find(|character| !is_digit(character)).unwrap_or(text.len());
        // `1e5` has an exponent, `2e` would be two numbers.
        if let Some(exponent) = text[end..].strip_prefix(['e', 'E']) {
            let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            let digits = unsigned.bytes().take_while(u8::is_ascii_digit).count();
            if digits > 0 {
                end = text.len() - unsigned.len() + digits;
            }
        }
        let digits = text[..end].replace('_', "");
        if digits.parse::<f64>().is_err() {
            return Err(format!("{:.40} is no number", &text[..end]));
        }
        self.steps.push(Step::Push(Literal::Digits(digits)));
        self.has_number = true;
        Ok(&text[end..])
    }

    fn name<'text>(&mut self, text: &'text str) -> Result<&'text str, String> {
        self.operand()?;
        let end = text
            .find(|character: char| !character.is_ascii_alphanumeric())
            .unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let constant = match name {
            "pi" => Some(Literal::Pi),
            "e" => Some(Literal::E),
            _ => None,
        };
        if let Some(constant) = constant {
            self.steps.push(Step::Push(constant));
            self.has_number = true;
            return Ok(rest);
        }
        let function = FUNCTIONS.into_iter().find(|function| *function == name);
        let function = function
            .ok_or_else(|| format!("there is no `{name:.40}`; there are pi, e and {}", FUNCTIONS.join(", ")))?;
        let rest = rest.trim_start().strip_prefix('(');
        let rest = rest.ok_or_else(|| format!("the arguments of {function} stand in brackets"))?;
        self.pending.push(Pending::Function(function, 0));
        Ok(rest)
    }

    fn sign<'text>(&mut self, text: &'text str, first: char) -> Result<&'text str, String> {
        let rest = &text[first.len_utf8()..];
        match first {
            '(' => {
                self.operand()?;
                self.pending.push(Pending::Bracket);
                return Ok(rest);
            }
            '-' | '−' if !self.has_number => {
                // Weaker than a power, stronger than a product.
                self.pending.push(Pending::Operator(Step::Negate, 3));
                return Ok(rest);
            }
            '+' if !self.has_number => return Ok(rest),
            _ => {}
        }
        let (step, strength, rest) = match first {
            ')' | ',' | '!' => (None, 0, rest),
            '+' => (Some(Step::Add), 1, rest),
            '-' | '−' => (Some(Step::Subtract), 1, rest),
            '*' => match rest.strip_prefix('*') {
                Some(rest) => (Some(Step::Power), 4, rest),
                None => (Some(Step::Multiply), 2, rest),
            },
            '×' | '·' => (Some(Step::Multiply), 2, rest),
            '/' | '÷' => (Some(Step::Divide), 2, rest),
            '%' => (Some(Step::Remainder), 2, rest),
            '^' => (Some(Step::Power), 4, rest),
            other => return Err(format!("an expression has no {other:?} in it")),
        };
        if !self.has_number {
            return Err(format!("there must be a number before {first:?}"));
        }
        match (step, first) {
            (Some(step), _) => {
                // Powers are taken from the right, all else from the left.
                let is_waiting_stronger = |other: u8| other > strength || (other == strength && step != Step::Power);
                self.settle(is_waiting_stronger);
                self.pending.push(Pending::Operator(step, strength));
                self.has_number = false;
            }
            // It is stronger than anything before it.
            (None, '!') => self.steps.push(Step::Factorial),
            (None, ',') => {
                self.settle(|_| true);
                match self.pending.last_mut() {
                    Some(Pending::Function(_, commas)) => *commas += 1,
                    _ => return Err("a comma stands between the arguments of a function".to_owned()),
                }
                self.has_number = false;
            }
            (None, _) => self.close()?,
        }
        Ok(rest)
    }

    fn close(&mut self) -> Result<(), String> {
        self.settle(|_| true);
        match self.pending.pop() {
            Some(Pending::Bracket) => Ok(()),
            Some(Pending::Function(name, commas)) => {
                let count = commas + 1;
                if count > 1 && !matches!(name, "max" | "min") {
                    return Err(format!("{name} takes 1 argument, not {count}"));
                }
                self.steps.push(Step::Call(name, count));
                Ok(())
            }
            _ => Err("a bracket is closed that was not opened".to_owned()),
        }
    }

    /// Takes the steps that wait, for as long as they come before what follows.
    fn settle(&mut self, comes_first: impl Fn(u8) -> bool) {
        while let Some(Pending::Operator(_, strength)) = self.pending.last() {
            if !comes_first(*strength) {
                return;
            }
            if let Some(Pending::Operator(step, _)) = self.pending.pop() {
                self.steps.push(step);
            }
        }
    }

    fn finish(mut self) -> Result<Expression, String> {
        if !self.has_number {
            return Err("the expression ends too early".to_owned());
        }
        self.settle(|_| true);
        if self.pending.is_empty() {
            Ok(Expression(self.steps))
        } else {
            Err("a bracket is not closed".to_owned())
        }
    }
}
