//! Nearest names: what someone probably meant, and what they could have written.

/// How many names a message lists before it only counts them.
const LISTED: usize = 16;
/// Characters that a message quotes of a value.
const QUOTED: usize = 80;
/// Longer names are not compared: it takes as many steps as the product of their lengths.
const COMPARED: usize = 256;

/// A value as messages quote it: its first characters, and how many there are when that is not all.
pub(crate) fn clipped(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}... ({} characters)", &text[..end], text.chars().count()),
        None => text.to_owned(),
    }
}

/// The candidate that is most like `given`, if one is like it at all.
pub(crate) fn nearest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if given.len() > COMPARED {
        return None;
    }
    let lower = given.to_lowercase();
    let limit = (given.chars().count() / 3).max(1);
    let alike = candidates.into_iter().filter(|name| name.len() <= COMPARED).filter_map(|name| {
        let edits = strsim::damerau_levenshtein(&lower, &name.to_lowercase());
        let contained = lower.len().min(name.len()) > 2 && (name.contains(&lower) || lower.contains(name));
        (edits <= limit || contained).then_some((edits, name))
    });
    alike.min_by_key(|&(edits, _)| edits).map(|(_, name)| name)
}

/// `did you mean `x`? Stages: a, b, c`, with `title` such as `stages`.
pub(crate) fn help<'a>(given: &str, title: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> String {
    let list = listed(candidates.clone());
    match nearest(given, candidates) {
        Some(name) => format!("did you mean `{}`? {title}: {list}", clipped(name)),
        None => format!("{title}: {list}"),
    }
}

/// `a, b, c`, or `none`.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names = names.into_iter();
    let shown: Vec<String> = names.by_ref().take(LISTED).map(clipped).collect();
    match (shown.len(), names.count()) {
        (0, _) => "none".to_owned(),
        (_, 0) => shown.join(", "),
        (_, more) => format!("{}, and {more} more", shown.join(", ")),
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
