//! Limits of expressions and templates, and that what lies within them means what minijinja means by it.

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, context};
use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { steps: 100_000, value: 1 << 20, work: 16 << 20 };

fn evaluate(source: &str) -> Result<String, String> {
    let scope = context! { a => "x", n => 3, list => vec![1, 2, 3], map => context! { b => 0.5 } };
    let result = Expression::new(source).and_then(|program| program.evaluate(&environment(LIMITS), LIMITS, scope));
    result.map(|value| value.to_string()).map_err(|error| error.to_string())
}

fn print(source: &str) -> Result<String, String> {
    let mut environment = environment(LIMITS);
    environment.set_formatter(|out, _, value| {
        weigh(value)?;
        std::fmt::Write::write_str(out, &value.to_string()).map_err(Error::from)
    });
    let scope = context! { a => "x", list => vec![1, 2, 3] };
    let result = render(&environment, LIMITS, SyntaxConfig::default(), AutoEscape::None, source, scope);
    result.map_err(|error| error.to_string())
}

#[test]
fn operators_and_filters_mean_what_minijinja_means() {
    for source in [
        "1 + 2",
        "1 + 2 + 3 * 4 - 5",
        "2 * 0.5",
        "1 + true",
        "a + 'y' + 'z'",
        "'x' * 3",
        "3 * 'x'",
        "[1] + [2, 3]",
        "[1, 2] * 2",
        "a ~ n ~ 0.5 ~ none",
        "-n + 1",
        "2 ** 3 * 2",
        "7 // 2 * 2",
        "n - 1 + 2",
        "'abc' | replace('b', 'xyz')",
        "list | join('-')",
        "list | join",
        "list | sum",
        "list | map('string') | join(', ')",
        "range(5) | list",
        "range(2, 5) | list",
        "range(5, 0, -2) | list",
        "'  x ' | trim",
        "list[1:] | length",
        "list | first + 1",
        "1 < n <= 3",
        "n in list and 'b' not in 'ac'",
        "n if n > 2 else 0",
        "{'k': [n, a]}.k[0]",
        "none | default(4)",
        "missing | default('d')",
        "map.b is defined",
        "map.c is defined",
        "map.c | default(1)",
        "list | select('odd') | list",
        "(1, 2)",
        "dict(x=n).x",
        "'%' ~ 1",
        "a == 'x'",
        "not n == 3",
        "list | max * 2",
    ] {
        let plain = Environment::new();
        let scope = context! { a => "x", n => 3, list => vec![1, 2, 3], map => context! { b => 0.5 } };
        let expected = plain.compile_expression(source).unwrap().eval(scope).unwrap().to_string();
        assert_eq!(evaluate(source).as_deref(), Ok(expected.as_str()), "{source}");
    }
    let template = "{% set s = a ~ 'y' %}{% for i in list %}{{ loop.index * 2 }}{% if not loop.last %},{% endif %}{% endfor %}\
                    {% macro m(p, q=2) %}<{{ p + q }}>{% endmacro %}{{ m(1) }}{{ m(1, q=5) }}{{ s | upper }}\
                    {% filter upper %}raw{% endfilter %}{% with t = [s] %}{{ t[0] }}{% endwith %}";
    assert_eq!(print(template).unwrap(), "2,4,6<3><6>XYRAWxy");
}

#[test]
fn names_are_those_that_are_looked_up() {
    let names = |source: &'static str| Expression::new(source).unwrap().names;
    assert_eq!(names("dataset.source ~ seed + vars.a.b | default(seed)"), ["dataset.source", "seed", "vars.a.b"]);
    assert_eq!(names("range(label.x)"), ["label.x", "range"]);
    assert_eq!(names("1 + 2"), Vec::<String>::new());
}

/// What took all memory, or minutes, or ended the program.
const BOMBS: [&str; 23] = [
    "('x' * 1000000) | replace('x', 'y' * 1000000) | length",
    "'x' * 100000000 ~ 'x' * 100000000",
    "('x' * 1000000) * 1000000",
    "[[1] * 1000000] * 1000000",
    "([[1] * 10000] * 10000) | map('sum') | sum",
    "range(100000) | list | join('x' * 1000000) | length",
    "'a' | indent(18446744073709551615)",
    "'a' | indent(9223372036854775807)",
    "'%0999999999999d' | format(1)",
    "'%.9999999999f' | format(1)",
    "range(100000) | select('in', range(100000)) | list | length",
    "range(100000) | map('default', range(100000)) | map('list') | list",
    "range(100000) | batch(18446744073709551615, 0)",
    "range(3) | slice(18446744073709551615)",
    "range(9223372036854775807)",
    "range(0, 9223372036854775807, 1)",
    "'x' * 18446744073709551615",
    "'x' * -1",
    "[1, 2] | tojson(indent=18446744073709551615)",
    "'y' | trim('x' * 1000000)",
    "'x' | center(10000000000)",
    "9223372036854775807 ** 9223372036854775807",
    "dict(a='x' * 1000000, b='x' * 1000000, c='y' * 1000000)",
];

#[test]
fn bombs_in_expressions_are_errors() {
    for bomb in BOMBS {
        let error = evaluate(bomb).expect_err(bomb);
        assert!(error.len() < 1000, "{bomb}: {} bytes of message", error.len());
    }
    for (open, close) in [("(", ")"), ("[", "]"), ("-", ""), ("not ", ""), ("{1:", "}"), ("x.y(", ")"), ("1+", "")] {
        for depth in [100, 3_000, 100_000] {
            let _ = evaluate(&format!("{}1{}", open.repeat(depth), close.repeat(depth)));
        }
    }
    for (start, link) in [
        ("1", "+1"),
        ("'a'", "~'a'"),
        ("a", "|upper"),
        ("a", ".b"),
        ("list", "[0]"),
        ("1", "<2"),
        ("1", " and 1"),
        ("2", "*2"),
        ("1", "**1"),
        ("1", " if 1 else 1"),
        ("1", " is defined"),
    ] {
        for count in [100, 1_900, 100_000] {
            let _ = evaluate(&format!("{start}{}", link.repeat(count)));
        }
    }
    assert_eq!(evaluate(&format!("1{}", "+1".repeat(1_000))).as_deref(), Ok("1001"));
}

#[test]
fn bombs_in_templates_are_errors() {
    let doubled = format!("{{% set s = 'x' %}}{}{{{{ s | length }}}}", "{% set s = s ~ s %}".repeat(60));
    let captured = format!("{{% set s = 'x' %}}{}", "{% set s %}{{ s }}{{ s }}{% endset %}".repeat(60));
    let raw = format!("{{% set s %}}{{% for i in range(10000) %}}{}{{% endfor %}}{{% endset %}}", "x".repeat(100_000));
    let printed = format!("{{% for i in range(10000) %}}{}{{% endfor %}}", "x".repeat(100_000));
    let nested = format!("{{% set s = [] %}}{}", "{% set s = [[[[[[[[s]]]]]]]] %}".repeat(1_000));
    let space =
        "{% set n = namespace(s='x') %}{% for i in range(100) %}{% set n.s = n.s ~ n.s %}{% endfor %}".to_owned();
    let compared =
        "{% set s = range(40000) | list %}{% for i in range(100000) %}{% if s == s %}{% endif %}{% endfor %}"
            .to_owned();
    let recursive = "{% macro m(x) %}{{ m([x]) }}{% endmacro %}{{ m(1) }}".to_owned();
    let macros = (1..60).fold("{% macro m0() %}x{% endmacro %}".to_owned(), |text, n| {
        format!("{text}{{% macro m{n}() %}}{{{{ m{0}() }}}}{{{{ m{0}() }}}}{{% endmacro %}}", n - 1)
    }) + "{{ m59() }}";
    for bomb in [doubled, captured, raw, printed, nested, space, compared, recursive, macros] {
        assert!(print(&bomb).is_err(), "{}", &bomb[..bomb.len().min(100)]);
    }
    for bomb in BOMBS {
        assert!(print(&format!("{{{{ {bomb} }}}}")).is_err(), "{bomb}");
    }
    let _ = print(&"{% if 1 %}".repeat(100_000));
    let _ = print(&format!("{{{{ 1{} }}}}", "+1".repeat(1_000_000)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(2_000), ..ProptestConfig::default() })]

    #[test]
    fn no_expression_panics(source in expressions()) {
        let _ = evaluate(&source);
        let _ = print(&format!("{{{{ {source} }}}}{{% set s = {source} %}}{{{{ s }}}}"));
    }
}

/// Words of the language in any order.
pub fn expressions() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "a",
        "n",
        "list",
        "map",
        "map.b",
        "1",
        "0",
        "-1",
        "1e9",
        "1e308",
        "9223372036854775807",
        "'x'",
        "''",
        "none",
        "true",
        "+",
        "-",
        "*",
        "/",
        "//",
        "%",
        "**",
        "~",
        "==",
        "<",
        "in",
        "not",
        "and",
        "or",
        "if",
        "else",
        "is",
        "defined",
        "|",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        ".",
        "replace",
        "join",
        "length",
        "range",
        "default",
        "round",
        "map",
        "sum",
        "split",
        "sort",
        "list",
        "int",
        "float",
        "select",
        "dict",
        "trim",
        "reverse",
        "unique",
        "items",
        "=",
    ]);
    prop::collection::vec(words, 0..14).prop_map(|words| words.join(" "))
}
