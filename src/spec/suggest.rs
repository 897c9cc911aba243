//! Nearest names: what someone probably meant, and what they could have written.

/// How many names a message lists before it only counts them.
const LISTED: usize = 16;

/// The candidate that is most like `given`, if one is like it at all.
pub(super) fn nearest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = given.to_lowercase();
    let limit = (given.chars().count() / 3).max(1);
    let alike = candidates.into_iter().filter_map(|name| {
        let edits = strsim::damerau_levenshtein(&lower, &name.to_lowercase());
        let contained = lower.len().min(name.len()) > 2 && (name.contains(&lower) || lower.contains(name));
        (edits <= limit || contained).then_some((edits, name))
    });
    alike.min_by_key(|&(edits, _)| edits).map(|(_, name)| name)
}

/// `did you mean `x`? Stages: a, b, c`, with `title` such as `stages`.
pub(super) fn help<'a>(given: &str, title: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> String {
    let list = listed(candidates.clone());
    match nearest(given, candidates) {
        Some(name) => format!("did you mean `{name}`? {title}: {list}"),
        None => format!("{title}: {list}"),
    }
}

/// `a, b, c`, or `none`.
pub(super) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    match names.len() {
        0 => "none".to_owned(),
        count if count > LISTED => format!("{}, and {} more", names[..LISTED].join(", "), count - LISTED),
        _ => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_slips_of_the_pen_and_nothing_else() {
        let names = ["epochs", "batch_size", "learning_rate"];
        assert_eq!(nearest("epoch", names), Some("epochs"));
        assert_eq!(nearest("batchsize", names), Some("batch_size"));
        assert_eq!(nearest("lerning_rate", names), Some("learning_rate"));
        assert_eq!(nearest("batch", names), Some("batch_size"));
        assert_eq!(nearest("override", ["over", "overrides"]), Some("overrides"));
        assert_eq!(nearest("dropout", names), None);
        assert_eq!(help("x", "stages", []), "stages: none");
    }
}
