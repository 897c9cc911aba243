//! Expressions and templates of minijinja within limits: steps, the size of every value, and the bytes that all
//! operations together may touch. minijinja itself bounds steps only, and one step can repeat a text a hundred million
//! times. Hence a program is rebuilt before it is compiled ([`rebuild`]): whatever makes a value becomes a call that
//! looks at sizes first ([`bounded`]).

mod bounded;
mod rebuild;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use minijinja::machinery::{CodeGenerator, Instructions, Token, eval, make_string_output, parse, parse_expr, tokenize};
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, UndefinedBehavior, Value};

pub use bounded::{charge, weigh};

/// What one evaluation may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Instructions.
    pub steps: u64,
    /// Bytes of one value.
    pub value: u64,
    /// Bytes that all operations together read and write.
    pub work: u64,
}

/// Tokens of one tag, and signs in a row: longer chains would nest deeper than the stack.
const TOKENS: usize = 4_000;
const SIGNS: usize = 100;

/// The environment in which expressions and templates are evaluated: undefined names are errors, and there are only
/// filters, tests and functions whose results are about as large as what they get.
pub fn environment(limits: Limits) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(limits.steps));
    bounded::restrict(&mut environment);
    environment
}

/// A compiled expression.
pub struct Expression<'source> {
    instructions: Instructions<'source>,
    /// `dataset.source`, `vars.epochs`, `seed`: what it looks up, sorted.
    pub names: Vec<String>,
}

impl<'source> Expression<'source> {
    pub fn new(source: &'source str) -> Result<Self, Error> {
        guarded(|| {
            count_tokens(source, true, SyntaxConfig::default())?;
            let expression = parse_expr(source)?;
            let mut names = Vec::new();
            let expression = rebuild::expression(&expression, &mut names)?;
            names.sort();
            names.dedup();
            let mut generator = CodeGenerator::new("<expression>", source);
            generator.compile_expr(&expression);
            Ok(Self { instructions: generator.finish().0, names })
        })
    }

    pub fn evaluate(&self, environment: &Environment<'_>, limits: Limits, scope: Value) -> Result<Value, Error> {
        guarded(|| {
            bounded::start(limits);
            let blocks = BTreeMap::new();
            let mut nowhere = String::new();
            let mut output: Output<'_> = make_string_output(&mut nowhere);
            let result = eval(environment, &self.instructions, scope, &blocks, &mut output, AutoEscape::None)?;
            let value = result.0.unwrap_or(Value::UNDEFINED);
            weigh(&value)?;
            Ok(value)
        })
    }
}

/// What the template `source` prints.
pub fn render(
    environment: &Environment<'_>,
    limits: Limits,
    syntax: SyntaxConfig,
    escape: AutoEscape,
    source: &str,
    scope: Value,
) -> Result<String, Error> {
    guarded(|| {
        count_tokens(source, false, syntax.clone())?;
        let program = rebuild::program(&parse(source, "template", syntax)?)?;
        let mut generator = CodeGenerator::new("template", source);
        generator.compile_stmt(&program);
        let (instructions, blocks) = generator.finish();
        bounded::start(limits);
        let mut text = String::new();
        eval(environment, &instructions, scope, &blocks, &mut make_string_output(&mut text), escape)?;
        Ok(text)
    })
}

fn count_tokens(source: &str, expression: bool, syntax: SyntaxConfig) -> Result<(), Error> {
    let (mut count, mut signs) = (0, 0);
    for token in tokenize(source, expression, syntax) {
        let token = token?.0;
        count = if matches!(token, Token::VariableStart | Token::BlockStart | Token::TemplateData(_)) {
            0
        } else {
            count + 1
        };
        signs = if matches!(token, Token::Minus | Token::Ident("not")) { signs + 1 } else { 0 };
        if count > TOKENS || signs > SIGNS {
            return Err(Error::new(
                ErrorKind::SyntaxError,
                format!("longer than {TOKENS} words, or {SIGNS} signs in a row"),
            ));
        }
    }
    Ok(())
}

/// A panic of the engine as an error: what people write must not end the program.
fn guarded<T>(run: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
        let detail = format!("it cannot be evaluated ({})", text.unwrap_or("without a reason"));
        Err(Error::new(ErrorKind::InvalidOperation, detail))
    })
}

#[cfg(test)]
mod tests;
