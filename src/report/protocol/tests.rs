//! Tests of what captions say.

use super::super::build;
use super::super::testing::*;
use super::*;

/// A model of a method in a column.
fn model(method: &str, test: &str, selection: Selection, masks_validation: bool) -> Model {
    let labels = [("method", method), ("test", test), ("seed", "1")];
    Model {
        labels: labels.map(|(axis, label)| (axis.to_owned(), label.to_owned())).into(),
        selection,
        masks_validation,
        candidates: Candidates::All,
        ranked: 50,
        items: 50,
    }
}

fn told(models: &[Model]) -> String {
    model_facts(&layout(), &scores(), models).join(" ")
}

#[test]
fn selection_and_mask_are_stated() {
    assert!(told(&[]).contains("not recorded"));
    let (fair, test, last) = (Selection::Validation, Selection::TestOracle, Selection::Last);
    let both = told(&[model("rns", "iid", fair, true), model("dns", "iid", fair, true)]);
    assert!(both.contains("Ranked against all items but the user's training and validation items."), "{both}");
    assert!(both.contains("chosen on validation data.") && !both.contains("Caution"), "{both}");
    let both = told(&[model("rns", "iid", fair, true), model("dns", "iid", last, true)]);
    assert!(both.contains("but for dns: the last."), "{both}");
    let oracle =
        [model("rns", "iid", fair, false), model("cnsdiff", "iid", test, false), model("elsewhere", "iid", test, true)];
    let oracle = told(&oracle);
    assert!(oracle.contains("Caution: epochs chosen on the test set"), "{oracle}");
    assert!(oracle.contains("no fair results: CNSDiff."), "{oracle}");
    assert!(oracle.contains("Ranked against all items but the user's training items."), "{oracle}");
}

#[test]
fn a_mask_that_differs_by_row_or_by_column_is_stated_for_those_that_have_it() {
    let fair = Selection::Validation;
    let models = |unmasked: &dyn Fn(&str, &str) -> bool| -> Vec<Model> {
        let of = |method| move |test| (method, test);
        let cells = ["rns", "dns", "cnsdiff"].into_iter().flat_map(|method| ["ood", "iid"].map(of(method)));
        cells.map(|(method, test)| model(method, test, fair, !unmasked(method, test))).collect()
    };
    let most = "Ranked against all items but the user's training and validation items; for ";
    let others = ": against all items but the user's training items.";
    let by_row = told(&models(&|method, _| method == "rns"));
    assert!(by_row.contains(&format!("{most}RNS{others}")), "{by_row}");
    let by_column = told(&models(&|_, test| test == "iid"));
    // As many as there are of the others: the first stands first.
    assert!(by_column.contains(&format!("{most}iid{others}")), "{by_column}");
    let by_cell = told(&models(&|method, test| method == "dns" && test == "ood"));
    assert!(by_cell.contains(&format!("{most}dns ood{others}")), "{by_cell}");
}

#[test]
fn candidates_are_named() {
    let with = |candidates: Candidates, ranked| Model {
        candidates,
        ranked,
        items: 900,
        ..model("rns", "iid", Selection::Last, false)
    };
    for (candidates, expected) in [
        (Candidates::Target, "the 70 items of the target domain"),
        (Candidates::Listed, "the 70 of 900 items of a given list"),
        (Candidates::ItemsOf(vec!["iid".into(), "ood".into()]), "the 70 of 900 items that occur in iid or ood"),
    ] {
        let told = told(&[with(candidates, 70)]);
        assert!(told.contains(&format!("Ranked against {expected} but the user's training items.")), "{told}");
    }
    let other = Model { labels: vec![("seed".into(), "2".into())], ..with(Candidates::Target, 80) };
    let several = told(&[with(Candidates::Target, 70), other]);
    assert!(several.contains("the 70 to 80 items of the target domain"), "{several}");
    let mixed = told(&[with(Candidates::Target, 70), model("dns", "iid", Selection::Last, false)]);
    assert!(mixed.contains("target domain but the user's training items; for dns: against all items"), "{mixed}");
}

#[test]
fn sampled_metrics_are_named_as_such() {
    let of = |of: &[&str], popularity| Candidates::Sampled {
        of: of.iter().map(|set| (*set).to_owned()).collect(),
        negatives: 99,
        popularity,
        seed: 1,
    };
    let with = |method, candidates| Model { candidates, ..model(method, "iid", Selection::Last, true) };
    let caution = "Caution: metrics among items that are sampled or listed for each user, not comparable with full ranking \
                   (Krichene & Rendle, KDD 2020)";
    for (candidates, expected) in [
        (of(&["ood"], false), "the user's test items (ood) and 99 sampled ones (uniform, seed 1)"),
        (of(&["iid", "ood"], true), "the user's test items (iid and ood) and 99 sampled ones (by popularity, seed 1)"),
        (Candidates::PerUser, "the items that a given file lists for the user"),
    ] {
        let told = told(&[with("rns", candidates.clone()), with("dns", candidates)]);
        assert!(told.contains(&format!("Ranked against {expected} but the user's training and validation")), "{told}");
        assert!(told.contains(&format!("{caution}.")), "{told}");
    }
    let mixed = told(&[with("rns", Candidates::All), with("dns", of(&["ood"], false))]);
    assert!(mixed.contains("; for dns: against the user's test items (ood) and 99 sampled ones"), "{mixed}");
    assert!(mixed.contains(&format!("{caution}: dns.")), "{mixed}");
    assert!(!told(&[with("rns", Candidates::All)]).contains("Caution"));
}

#[test]
fn what_is_not_asked_for_is_counted() {
    let table = build(&layout(), &scores(), &[], &[]).unwrap();
    let told = |evaluations: &[Evaluation]| evaluation_facts(&table, evaluations).join(" ");
    let plain = Evaluation { users: 100, pairs: 200, tied: vec![(20, 0)], ..Evaluation::default() };
    assert_eq!(told(std::slice::from_ref(&plain)), "");
    let masked = Evaluation { pairs: 190, in_valid: 8, no_candidate: 2, ..plain.clone() };
    let rule = "Test pairs that cannot be recommended are";
    assert_eq!(
        told(&[plain.clone(), masked.clone()]),
        format!("{rule} not asked for: at most 10 of 200 (8 in the user's validation, 2 none of the ranked items).")
    );
    let kept = Evaluation { pairs: 200, in_train: 1, in_valid: 0, no_candidate: 0, unreachable_kept: true, ..masked };
    assert_eq!(told(&[kept]), format!("{rule} counted as misses: at most 1 of 200 (1 in the user's training)."));
}

#[test]
fn ties_are_told_from_one_percent_of_the_users_on() {
    let table = build(&layout(), &scores(), &[], &[]).unwrap();
    let tied = |k, tied| {
        evaluation_facts(&table, &[Evaluation { users: 1_000, tied: vec![(k, tied)], ..Evaluation::default() }])
    };
    assert!(tied(20, 9).is_empty());
    assert!(tied(20, 120)[0].contains("for up to 12% of the users"), "{:?}", tied(20, 120));
    // No column shows this cut-off.
    assert!(tied(10, 120).is_empty());
}
