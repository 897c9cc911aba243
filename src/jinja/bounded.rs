//! Sizes of values, and the operators, filters and functions that look at them first.

use std::cell::Cell;

use minijinja::value::{Kwargs, Rest, StringInput, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, filters};

use super::Limits;

/// Deeper values would be dropped and printed by recursion without end.
const DEPTH: usize = 64;
/// Bytes of a value besides its text.
const CELL: u64 = 32;
/// Bytes of an argument of a filter that may look through it for every piece of its input.
const ARGUMENT: u64 = 4096;
/// What `range` may count.
const RANGE: u128 = 100_000;

/// Names of the functions that rebuilt programs call. They take their first argument as filters do.
pub const ADD: &str = "__add";
pub const MULTIPLY: &str = "__multiply";
pub const CONCATENATE: &str = "__concatenate";
pub const WEIGH: &str = "__weigh";
pub const ARGUMENT_OF: &str = "__argument";

/// Filters that cannot be bounded from outside, or make no sense without side effects.
const REMOVED_FILTERS: [&str; 9] =
    ["indent", "format", "batch", "slice", "groupby", "chain", "zip", "pprint", "tojson"];

thread_local! {
    /// What is left of the work, and the largest value.
    static LEFT: Cell<(u64, u64)> = const { Cell::new((u64::MAX, u64::MAX)) };
}

pub fn start(limits: Limits) {
    LEFT.set((limits.work, limits.value));
}

pub fn restrict(environment: &mut Environment<'static>) {
    REMOVED_FILTERS.iter().for_each(|name| environment.remove_filter(name));
    environment.remove_global("debug");
    environment.remove_global("namespace");
    // It searches its argument for every item that another filter hands it.
    environment.remove_test("in");
    environment
        .add_filter(ADD, |left: Value, rest: Rest<Value>| rest.iter().try_fold(left, |sum, next| add(&sum, next)));
    environment.add_filter(CONCATENATE, |left: Value, rest: Rest<Value>| concatenate(&left, &rest));
    environment.add_filter(MULTIPLY, |left: Value, right: Value| multiply(&left, &right));
    environment.add_filter(WEIGH, |value: Value| weigh(&value).map(|_| value));
    environment.add_filter(ARGUMENT_OF, |value: Value| match weigh(&value)? {
        weight if weight <= ARGUMENT => Ok(value),
        _ => Err(wrong(format!("an argument of a filter has more than {ARGUMENT} bytes"))),
    });
    environment.add_filter("replace", replace);
    environment.add_filter("join", join);
    environment.add_filter("sum", sum);
    environment.add_filter("trim", |value: StringInput<'_>| filters::trim(value, None));
    environment.add_function("range", range);
}

fn wrong(detail: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, detail)
}

/// Takes `bytes` from what is left of the work.
///
/// # Errors
/// Not that much is left, or it would be too large for one value.
pub fn charge(bytes: u64) -> Result<(), Error> {
    let (work, value) = LEFT.get();
    if bytes > value {
        return Err(wrong(format!("a value has more than {} KiB", value >> 10)));
    }
    let left = work.checked_sub(bytes).ok_or_else(|| Error::from(ErrorKind::OutOfFuel))?;
    LEFT.set((left, value));
    Ok(())
}

/// The size of a value with all its parts, which is charged.
///
/// # Errors
/// It is too large or nested too deeply.
pub fn weigh(value: &Value) -> Result<u64, Error> {
    let mut weight = 0;
    add_weight(value, 0, LEFT.get().1, &mut weight)?;
    charge(weight)?;
    Ok(weight)
}

fn add_weight(value: &Value, depth: usize, limit: u64, weight: &mut u64) -> Result<(), Error> {
    let text = value.as_str().map_or(0, str::len).max(value.as_bytes().map_or(0, <[u8]>::len));
    *weight += CELL + text as u64;
    if *weight > limit {
        return Err(wrong(format!("a value has more than {} KiB", limit >> 10)));
    }
    let parts = matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable | ValueKind::Map);
    if !parts {
        return Ok(());
    }
    if depth == DEPTH {
        return Err(wrong(format!("a value is nested more than {DEPTH} levels deep")));
    }
    for part in value.try_iter()? {
        add_weight(&part, depth + 1, limit, weight)?;
        if value.kind() == ValueKind::Map {
            add_weight(&value.get_item(&part)?, depth + 1, limit, weight)?;
        }
    }
    Ok(())
}

enum Number {
    Integer(i128),
    Float(f64),
}

fn number(value: &Value) -> Option<Number> {
    match value.kind() {
        ValueKind::Bool => Some(Number::Integer(value.is_true().into())),
        ValueKind::Number if value.is_integer() => i128::try_from(value.clone()).ok().map(Number::Integer),
        ValueKind::Number => f64::try_from(value.clone()).ok().map(Number::Float),
        _ => None,
    }
}

/// Two numbers as both of a kind.
fn calculate(
    [left, right]: [&Value; 2],
    integers: fn(i128, i128) -> Option<i128>,
    floats: fn(f64, f64) -> f64,
) -> Option<Result<Value, Error>> {
    let float = |number| match number {
        Number::Integer(integer) => integer as f64,
        Number::Float(float) => float,
    };
    Some(match (number(left)?, number(right)?) {
        (Number::Integer(a), Number::Integer(b)) => integers(a, b)
            .map(|result| i64::try_from(result).map_or_else(|_| Value::from(result), Value::from))
            .ok_or_else(|| wrong("the result is too large for an integer")),
        (a, b) => Ok(Value::from(floats(float(a), float(b)))),
    })
}

fn unsupported(operator: &str, left: &Value, right: &Value) -> Error {
    if left.is_undefined() || right.is_undefined() {
        return ErrorKind::UndefinedError.into();
    }
    wrong(format!("`{operator}` does not work on a {} and a {}", left.kind(), right.kind()))
}

fn is_list(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable)
}

fn add(left: &Value, right: &Value) -> Result<Value, Error> {
    if let Some(result) = calculate([left, right], i128::checked_add, |a, b| a + b) {
        return result;
    }
    if let (Some(a), Some(b)) = (left.as_str(), right.as_str()) {
        charge((a.len() + b.len()) as u64)?;
        return Ok(Value::from([a, b].concat()));
    }
    if is_list(left) && is_list(right) {
        charge(weigh(left)? + weigh(right)?)?;
        return Ok(left.try_iter()?.chain(right.try_iter()?).collect());
    }
    Err(unsupported("+", left, right))
}

fn multiply(left: &Value, right: &Value) -> Result<Value, Error> {
    if let Some(result) = calculate([left, right], i128::checked_mul, |a, b| a * b) {
        return result;
    }
    let (repeated, times) = if left.as_usize().is_some() { (right, left) } else { (left, right) };
    let Some(times) = times.as_usize() else { return Err(unsupported("*", left, right)) };
    if let Some(text) = repeated.as_str() {
        charge((text.len() as u64).saturating_mul(times as u64))?;
        return Ok(Value::from(text.repeat(times)));
    }
    if is_list(repeated) {
        charge(weigh(repeated)?.saturating_mul(times as u64))?;
        let items: Vec<Value> = repeated.try_iter()?.collect();
        return Ok(std::iter::repeat_n(&items, times).flatten().cloned().collect());
    }
    Err(unsupported("*", left, right))
}

fn concatenate(left: &Value, rest: &[Value]) -> Result<Value, Error> {
    let mut text = String::new();
    for part in std::iter::once(left).chain(rest) {
        if part.is_undefined() {
            return Err(ErrorKind::UndefinedError.into());
        }
        charge(weigh(part)? + text.len() as u64)?;
        text.push_str(&part.to_string());
    }
    Ok(Value::from(text))
}

fn replace(
    state: &mut State,
    value: StringInput<'_>,
    from: StringInput<'_>,
    to: StringInput<'_>,
) -> Result<Value, Error> {
    let (length, new) = (value.as_str().len() as u64, to.as_str().len() as u64);
    // As many as fit; an empty text is found between any two characters.
    let found = length / (from.as_str().len() as u64).max(1) + 1;
    let size = length.saturating_add(found.saturating_mul(new));
    charge(size)?;
    filters::replace(state, value, from, to)
}

fn join(
    state: &mut State,
    value: &Value,
    joiner: Option<StringInput<'_>>,
    attribute: Option<&str>,
    options: Kwargs,
) -> Result<Value, Error> {
    let named = options.peek::<Option<&str>>("d").ok().flatten().map_or(0, str::len);
    let between = joiner.as_ref().map_or(named, |joiner| joiner.as_str().len()) as u64;
    let weight = weigh(value)?;
    charge(weight.saturating_add((weight / CELL).saturating_mul(between)))?;
    filters::join(state, value, joiner, attribute, options)
}

fn sum(values: &Value) -> Result<Value, Error> {
    let mut sum = Value::from(0);
    for value in values.try_iter()? {
        sum = calculate([&sum, &value], i128::checked_add, |a, b| a + b)
            .unwrap_or_else(|| Err(wrong(format!("only numbers have a sum, not a {}", value.kind()))))?;
    }
    Ok(sum)
}

fn range(first: i64, second: Option<i64>, step: Option<i64>) -> Result<Value, Error> {
    let (start, end) = second.map_or((0, first), |end| (first, end));
    let step = step.unwrap_or(1);
    let distance = match step {
        0 => return Err(wrong("`range` cannot go by steps of 0")),
        1.. => i128::from(end) - i128::from(start),
        _ => i128::from(start) - i128::from(end),
    };
    let count = distance.max(0).unsigned_abs().div_ceil(u128::from(step.unsigned_abs()));
    if count > RANGE {
        return Err(wrong(format!("`range` counts no further than {RANGE} numbers")));
    }
    charge(CELL * count as u64)?;
    Ok((0..count as i64).map(|index| start + index * step).collect())
}
