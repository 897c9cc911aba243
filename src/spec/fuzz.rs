//! What must hold of any bytes as a pipeline file, and of any text as an expression in one: one function each for the
//! fuzzer (`fuzz/`), for `scripts/` and for the bounded run in the tests, so that they cannot drift.

use super::{KindTable, Options, load};

/// Bytes of all that a terminal shows of a wrong pipeline.
const RENDERED: usize = 1 << 20;

/// Loads the bytes as a pipeline file, the only one that there is. Says whether it is a pipeline.
///
/// # Panics
/// A promise is broken: the mistakes fill more than [`RENDERED`] bytes, or two instances have one name.
pub fn fuzz_pipeline(bytes: &[u8], kinds: &dyn KindTable) -> bool {
    let read = |name: &str| match name {
        "fuzz.yaml" => Ok(bytes.to_vec()),
        _ => Err("there is only one file".to_owned()),
    };
    match load("fuzz.yaml", &read, kinds, &Options::default()) {
        Ok(pipeline) => {
            let mut ids: Vec<&str> = pipeline.instances.iter().map(|instance| instance.id.as_str()).collect();
            ids.sort_unstable();
            assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "two instances of one name");
            true
        }
        Err(mistakes) => {
            let text = mistakes.render(true, 80);
            assert!(text.len() <= RENDERED, "{} bytes of mistakes", text.len());
            false
        }
    }
}

/// Loads a pipeline with the text as an expression, as part of a text and as a condition. Says whether it is one.
///
/// # Panics
/// As [`fuzz_pipeline`].
pub fn fuzz_template(bytes: &[u8], kinds: &dyn KindTable) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let quoted = |template: String| serde_json::Value::from(template).to_string();
    let [whole, part] = [format!("{{{{ {text} }}}}"), format!("a {{{{ {text} }}}} b")].map(quoted);
    let pipeline = format!(
        "pipeline: p\nvars: {{n: 3, text: abc}}\naxes: {{x: {{one: {{a: 1, b: [1, two]}}}}, seed: [7]}}\nstages:\n  \
         s: {{kind: literal, over: [x, seed], where: {whole}, with: {{rows: [{{a: {whole}, b: {part}}}]}}}}\n"
    );
    fuzz_pipeline(pipeline.as_bytes(), kinds)
}
