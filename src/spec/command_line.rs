//! What the command line changes (`--set`, `--only`, `--seeds`). Each change is kept as a small file of its own, so
//! that a mistake in it is shown like any other.

use super::Options;
use super::mistake::{Files, Finding, Findings, Span};
use super::suggest;
use super::yaml::{self, Node, Tree, Word};

/// One line per change, as on the command line.
pub(super) fn lines(options: &Options) -> Vec<String> {
    let set = options.set.iter().map(|(path, value)| format!("--set {path}={value}"));
    let only = options.only.iter().map(|(axis, labels)| format!("--only {axis}={}", labels.join(",")));
    let seeds = options.seeds.iter().map(|seeds| {
        let seeds: Vec<String> = seeds.iter().map(u64::to_string).collect();
        format!("--seeds {}", seeds.join(","))
    });
    set.chain(only).chain(seeds).collect()
}

/// Puts the value of each `--set` into the tree.
pub(super) fn set(root: &mut Node, options: &Options, files: &mut Files, findings: &mut Findings) {
    for (path, value) in &options.set {
        let before = findings.count();
        let Some(mut node) = yaml::read(&format!("--set {path}"), value.as_bytes(), files, findings) else { continue };
        if findings.count() > before {
            continue;
        }
        let span = word(&format!("--set {path}={value}"), files).span;
        node.span = span;
        if let Err(finding) = replace(root, path, node, span, path) {
            findings.push(*finding);
        }
    }
}

/// A change as a file that holds just its text.
pub(super) fn word(text: &str, files: &mut Files) -> Word {
    let file = files.add("command line", text);
    Word { text: text.to_owned(), span: Span { file, start: 0, end: text.len() as u32 } }
}

/// Replaces the node at `path` below `at`. Only parameters (below a `with`) may be new: the kind checks their names.
fn replace(at: &mut Node, path: &str, new: Node, span: Span, whole: &str) -> Result<(), Box<Finding>> {
    let done = whole.strip_suffix(path).unwrap_or("").trim_end_matches('.').to_owned();
    let stage = done.strip_prefix("stages.").is_some_and(|name| !name.contains('.'));
    let open = done.ends_with(".with") || done.contains(".with.") || stage && path.starts_with("with.");
    let nowhere = |help: String| {
        let message = format!(
            "`--set {whole}`: there is no `{path}` in {}",
            if done.is_empty() { "the pipeline" } else { &done }
        );
        Box::new(Finding::new(span, message, "this path").help(help))
    };
    if open && matches!(at.value, Tree::Null) {
        at.value = Tree::Map(Vec::new());
    }
    match &mut at.value {
        Tree::Map(entries) => {
            // Labels may contain dots: the longest key that the path begins with is meant.
            let fits = |key: &str| path == key || path.strip_prefix(key).is_some_and(|rest| rest.starts_with('.'));
            let found = entries.iter_mut().filter(|(key, _)| fits(&key.text)).max_by_key(|(key, _)| key.text.len());
            match found {
                Some((key, node)) if key.text == path => *node = new,
                Some((key, node)) => return replace(node, &path[key.text.len() + 1..], new, span, whole),
                None if open => {
                    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
                    let mut node = Node { span, value: Tree::Null };
                    match rest {
                        Some(rest) => {
                            node.value = Tree::Map(Vec::new());
                            replace(&mut node, rest, new, span, whole)?;
                        }
                        None => node = new,
                    }
                    entries.push((Word { text: name.to_owned(), span }, node));
                }
                None => {
                    let first = path.split('.').next().unwrap_or(path);
                    return Err(nowhere(suggest::help(
                        first,
                        "its keys",
                        entries.iter().map(|(key, _)| key.text.as_str()),
                    )));
                }
            }
            Ok(())
        }
        Tree::List(items) => {
            let (index, rest) = path.split_once('.').map_or((path, None), |(index, rest)| (index, Some(rest)));
            let count = items.len();
            match (index.parse::<usize>().ok().and_then(|index| items.get_mut(index)), rest) {
                (Some(item), Some(rest)) => replace(item, rest, new, span, whole),
                (Some(item), None) => {
                    *item = new;
                    Ok(())
                }
                (None, _) => {
                    Err(nowhere(format!("this is a list; its items are numbered 0 to {}", count.saturating_sub(1))))
                }
            }
        }
        _ => Err(nowhere(format!("`{done}` is {}, which has no parts", at.describe()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Node {
        yaml::read("t", text.as_bytes(), &mut Files::default(), &mut Findings::default()).expect("valid YAML")
    }

    /// What stands at a path of keys.
    fn at(mut node: &Node, path: &[&str]) -> String {
        for step in path {
            node = node
                .entries()
                .and_then(|entries| entries.iter().find(|(key, _)| key.text == *step))
                .map_or(node, |(_, node)| node);
        }
        node.describe()
    }

    fn change(text: &str, path: &str, value: &str) -> Result<Node, String> {
        let mut root = tree(text);
        replace(&mut root, path, tree(value), Span::default(), path)
            .map(|()| root)
            .map_err(|finding| format!("{} / {}", finding.message, finding.help.unwrap_or_default()))
    }

    #[test]
    fn replaces_what_exists_and_adds_parameters_only() {
        let text = "vars: {x: 1}\naxes: {d: {'0.5': {p: 1}}}\nstages: {m: {kind: t, with: {a: 1}, overrides: [{with: {b: 2}}]}}";
        let root = change(text, "axes.d.0.5.p", "7").expect("a label with a dot");
        assert_eq!(at(&root, &["axes", "d", "0.5", "p"]), "the number 7");
        let root = change(text, "stages.m.with.opt.lr", "0.1").expect("new parameters are checked by the kind");
        assert_eq!(at(&root, &["stages", "m", "with", "opt", "lr"]), "the number 0.1");
        assert!(change("stages: {m: {kind: t}}", "stages.m.with.a", "1").is_ok());
        assert!(change(text, "stages.m.overrides.0.with.b", "3").is_ok());
        let error = change(text, "vars.y", "1").expect_err("vars cannot be new");
        assert!(error.contains("no `y` in vars") && error.contains("its keys: x"), "{error}");
        assert!(change(text, "stages.m.kindd", "x").is_err_and(|error| error.contains("did you mean `kind`")));
        assert!(change(text, "stages.m.overrides.1.with.b", "3").is_err());
    }
}
