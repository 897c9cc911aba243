//! Properties of expansion over random pipelines.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A chain of stages over random axes: sizes of the axes, and per stage which axes it adds and which it collapses.
fn pipelines() -> impl Strategy<Value = (Vec<usize>, Vec<(u8, u8)>)> {
    (prop::collection::vec(1..4usize, 1..5), prop::collection::vec((any::<u8>(), any::<u8>()), 1..5))
}

/// The YAML text with the axes of each stage. `turned` reverses the keys inside of every stage.
fn write(sizes: &[usize], stages: &[(u8, u8)], turned: bool) -> (String, Vec<Vec<usize>>) {
    let mut text = "pipeline: p\naxes:\n".to_owned();
    for (axis, size) in sizes.iter().enumerate() {
        let labels: Vec<String> = (0..*size).map(|label| format!("l{label}")).collect();
        text.push_str(&format!("  a{axis}: [{}]\n", labels.join(", ")));
    }
    text.push_str("stages:\n");
    let mut all: Vec<Vec<usize>> = Vec::new();
    for (number, (over, collapse)) in stages.iter().enumerate() {
        let before = all.last().cloned().unwrap_or_default();
        let chosen = |bits: u8| (0..sizes.len()).filter(move |axis| bits >> axis & 1 == 1);
        let own: Vec<usize> = chosen(*over).filter(|axis| !before.contains(axis)).collect();
        let ended: Vec<usize> = chosen(*collapse).filter(|axis| before.contains(axis)).collect();
        let names = |axes: &[usize]| axes.iter().map(|axis| format!("a{axis}")).collect::<Vec<_>>().join(", ");
        let mut keys = vec![format!("over: [{}]", names(&own)), format!("collapse: [{}]", names(&ended))];
        keys.push(if number == 0 { "kind: literal".into() } else { "kind: concat".into() });
        if number > 0 {
            keys.push(format!("needs: {{tables: s{}}}", number - 1));
        }
        if turned {
            keys.reverse();
        }
        text.push_str(&format!("  s{number}: {{{}}}\n", keys.join(", ")));
        let mut axes: Vec<usize> = before.iter().chain(&own).copied().filter(|axis| !ended.contains(axis)).collect();
        axes.sort_unstable();
        all.push(axes);
    }
    (text, all)
}

proptest! {
    #[test]
    fn stages_have_one_instance_per_combination((sizes, stages) in pipelines()) {
        let (text, axes) = write(&sizes, &stages, false);
        let pipeline = load(&text);
        for (stage, axes) in pipeline.stages.iter().zip(axes) {
            let product: usize = axes.iter().map(|&axis| sizes[axis]).product();
            prop_assert_eq!(stage.instances.len(), product);
        }
        let mut ids: Vec<&str> = pipeline.instances.iter().map(|instance| instance.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        prop_assert_eq!(ids.len(), pipeline.instances.len());
    }

    #[test]
    fn needed_instances_agree_on_shared_axes_and_are_complete((sizes, stages) in pipelines()) {
        let (text, _) = write(&sizes, &stages, false);
        let pipeline = load(&text);
        for instance in &pipeline.instances {
            let own: BTreeMap<_, _> = instance.labels.iter().cloned().collect();
            for need in &instance.needs {
                let mut last = None;
                for source in &need.sources {
                    let needed = &pipeline.instances[source.instance];
                    prop_assert!(needed.labels.iter().all(|(axis, label)| own.get(axis).is_none_or(|mine| mine == label)));
                    prop_assert!(last < Some(source.instance), "in axis order");
                    last = Some(source.instance);
                }
                let stage = &pipeline.stages[pipeline.instances[need.sources[0].instance].stage];
                let size = |axis: &String| pipeline.axes.iter().find(|found| found.name == *axis).map_or(0, |a| a.labels.len());
                let gathered: usize = stage.axes.iter().filter(|axis| !own.contains_key(*axis)).map(size).product();
                prop_assert_eq!(need.sources.len(), gathered);
            }
        }
    }

    #[test]
    fn the_order_of_keys_in_a_stage_does_not_matter((sizes, stages) in pipelines()) {
        let spelled = |turned| serde_json::to_value(load(&write(&sizes, &stages, turned).0)).map(|mut pipeline| {
            pipeline["stages"].as_array_mut().into_iter().flatten().for_each(|stage| drop(stage["location"].take()));
            pipeline
        });
        prop_assert_eq!(spelled(false).ok(), spelled(true).ok());
    }

    #[test]
    fn no_text_makes_it_panic(text in "[a-z:{}\\[\\]&*\"' \\n\\t#|>.0-9-]{0,200}") {
        let _ = try_load(&text, &Options::default());
        let _ = try_load(&format!("pipeline: p\nstages:\n  s: {{kind: literal, with: {{value: {text}}}}}"), &Options::default());
    }
}

/// So many cases, or what PROPTEST_CASES says where that is more.
fn at_least(cases: u32) -> ProptestConfig {
    let config = ProptestConfig::default();
    ProptestConfig { cases: config.cases.max(cases), ..config }
}

/// Pieces of pipeline files in any order, mostly well formed.
fn pieces() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "pipeline: p\n",
        "vars:\n",
        "axes:\n",
        "stages:\n",
        "  s:\n",
        "    kind: literal\n",
        "    kind: concat\n",
        "    over: ",
        "    needs: ",
        "    where: ",
        "    with: ",
        "    collapse: ",
        "    except: ",
        "    overrides: ",
        "  x: ",
        "  seed: ",
        "[1, 2, 3]\n",
        "[a, b]\n",
        "{a: 1}\n",
        "{tables: s}\n",
        "x\n",
        "\"{{ x }}\"\n",
        "\"{{ seed * 2 ~ 'x' }}\"\n",
        "&a ",
        "*a\n",
        "<<: ",
        "- ",
        "!!str ",
        "!x ",
        "? ",
        ": ",
        "|\n",
        ">\n",
        "'",
        "\"",
        "#",
        "---\n",
        "...\n",
        "\t",
        "\u{feff}",
        "\u{0}",
        "é",
        "00\n",
        "1e999\n",
        ".nan\n",
        "18446744073709551616\n",
        "{{",
        "}}",
        "[",
        "]",
        "{",
        "}",
        "\n",
        " ",
        "include: fuzz.yaml\n",
        "include: [a, ../b]\n",
        "{value: \"{{ x | replace('a', 'b') }}\"}\n",
        "%YAML 1.1\n",
    ]);
    prop::collection::vec(words, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(at_least(3_000))]

    #[test]
    fn no_pipeline_file_panics_or_floods(text in pieces(), cut in any::<prop::sample::Index>(), byte in any::<u8>()) {
        spec::fuzz::fuzz_pipeline(text.as_bytes(), &*kinds::KINDS);
        let mut bytes = text.into_bytes();
        if !bytes.is_empty() {
            let at = cut.index(bytes.len());
            bytes[at] = byte;
            spec::fuzz::fuzz_pipeline(&bytes, &*kinds::KINDS);
        }
    }

    #[test]
    fn no_template_panics_or_floods(text in "[a-z0-9 '\"~*+|().,:\\[\\]{}%<>=!-]{0,60}") {
        spec::fuzz::fuzz_template(text.as_bytes(), &*kinds::KINDS);
    }
}
