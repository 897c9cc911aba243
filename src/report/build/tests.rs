//! Tests of the table.

use super::super::testing::*;
use super::super::{Correction, Mark, Table, Unit};
use super::*;

fn cells<'t>(table: &'t Table, row: &str) -> &'t [Cell] {
    &table.rows.iter().find(|other| other.label == row).unwrap().cells
}

/// The first column of a layout.
fn column(layout: &Layout) -> Column {
    columns(layout, &scores()).remove(0)
}

#[test]
fn rows_and_columns_stand_in_the_order_of_first_appearance() {
    let table = build(&layout(), &scores(), &[], &[]).unwrap();
    assert_eq!(table.rows.iter().map(|row| row.title.as_str()).collect::<Vec<_>>(), ["RNS", "dns", "CNSDiff"]);
    let titles: Vec<String> = table.columns.iter().map(|column| column.titles.join(" ")).collect();
    assert_eq!(titles, ["Food ood Recall@20", "Food ood NDCG@20", "Food iid Recall@20", "Food iid NDCG@20"]);
    let spans: Vec<(usize, usize)> = table.header[0].iter().map(|span| (span.from, span.to)).collect();
    assert_eq!(spans, [(1, 4)]);
    assert_eq!(table.header[1].len(), 2);
    assert_eq!(table.header[2].len(), 4);
    assert_eq!(table.facts[0], "Mean ± standard deviation over 3 seeds.");
}

#[test]
fn means_spreads_and_standings() {
    let table = build(&layout(), &scores(), &[], &[]).unwrap();
    let ours = &cells(&table, "cnsdiff")[0];
    assert_eq!((ours.text.as_str(), ours.sd_text.as_str(), ours.n), ("0.0310", "0.0010", 3));
    assert!(ours.best && !ours.second);
    assert!(cells(&table, "dns")[0].second);
    assert!(!cells(&table, "rns")[0].best && !cells(&table, "rns")[0].second);
}

#[test]
fn equal_values_share_the_first_place_and_the_next_is_second() {
    let mut rows = rows_of(&[Some(0.3), Some(0.3), Some(0.2), Some(0.1), None]);
    rank(&layout(), &mut rows, &column(&layout()), 0);
    let places: Vec<(bool, bool)> = rows.iter().map(|row| (row.cells[0].best, row.cells[0].second)).collect();
    assert_eq!(places, [(true, false), (true, false), (false, true), (false, false), (false, false)]);
    let mut lone = rows_of(&[Some(0.3), None]);
    rank(&layout(), &mut lone, &column(&layout()), 0);
    assert!(!lone[0].cells[0].best);
}

#[test]
fn values_that_look_the_same_share_a_place() {
    let places = |layout: &Layout| -> Vec<(bool, bool)> {
        let mut rows = rows_of(&[Some(0.04204), Some(0.042049), Some(0.04151), Some(0.03), Some(0.030_001)]);
        rank(layout, &mut rows, &column(layout), 0);
        rows.iter().map(|row| (row.cells[0].best, row.cells[0].second)).collect()
    };
    let (best, second, none) = ((true, false), (false, true), (false, false));
    assert_eq!(places(&layout()), [best, best, second, none, none]);
    assert_eq!(places(&Layout { digits: 3, ..layout() }), [best, best, best, second, second]);
    assert_eq!(places(&Layout { digits: 3, percent: true, ..layout() }), [second, best, none, none, none]);
    assert_eq!(places(&Layout { digits: 1, ..layout() }), [best; 5]);
    let mut zeros = rows_of(&[Some(0.0), Some(-0.0), Some(-0.000_01)]);
    rank(&layout(), &mut zeros, &column(&layout()), 0);
    assert!(zeros.iter().all(|row| row.cells[0].best));
}

#[test]
fn a_mark_needs_all_of_the_strongest_baselines() {
    let scores: Vec<Score> = scores()
        .into_iter()
        .map(|score| match label_of(&score.labels, "method") {
            // As printed RNS is as strong as DNS.
            Some("rns") => Score { value: score.value * 2.000_01, ..score },
            _ => score,
        })
        .collect();
    let built = |findings: &[Finding]| {
        let layout = Layout { marks: Some(marks()), ours: vec!["cnsdiff".into()], ..layout() };
        let table = build(&layout, &scores, findings, &[]).unwrap();
        let baselines = [&cells(&table, "rns")[0], &cells(&table, "dns")[0]];
        assert!(baselines.iter().all(|cell| cell.text == "0.0200" && cell.second));
        (cells(&table, "cnsdiff")[0].mark, table.notes.clone())
    };
    let (won, open) = (finding("rns", 0.02, Some(0.01)), finding("dns", 0.02, Some(0.2)));
    assert_eq!(built(&[won.clone(), finding("dns", 0.02, Some(0.01))]).0, Some(Mark::Better));
    assert_eq!(built(&[won.clone(), open]).0, None);
    let lost = Finding { difference: -0.01, ..finding("dns", 0.02, Some(0.01)) };
    assert_eq!(built(&[won.clone(), lost]).0, None);
    assert_eq!(built(&[won]), (None, vec!["Not tested: CNSDiff.".to_owned()]));
}

#[test]
fn notes_say_whom_and_where_they_are_about() {
    let note = |finding: Finding, note: &str| Finding { note: note.into(), ..finding };
    let notes = |findings: &[Finding]| {
        build(&Layout { marks: Some(marks()), ..layout() }, &scores(), findings, &[]).unwrap().notes
    };
    let same = "all differences are 0";
    let (rns, dns) = (finding("rns", 0.01, Some(1.0)), finding("dns", 0.02, Some(1.0)));
    let one = [note(rns.clone(), same), dns.clone()];
    assert_eq!(notes(&one), ["CNSDiff vs. RNS (Food ood Recall@20): all differences are 0."]);
    let both = [note(rns.clone(), same), note(dns.clone(), same)];
    assert_eq!(notes(&both), ["CNSDiff vs. dns, RNS (Food ood Recall@20): all differences are 0."]);
    // What holds in all columns needs no list of them.
    let mut everywhere = Vec::new();
    for metric in ["recall", "ndcg"] {
        let labels = vec![("dataset".into(), "food".into())];
        everywhere.push(note(Finding { metric: metric.into(), labels, ..rns.clone() }, same));
    }
    assert_eq!(notes(&everywhere), ["CNSDiff vs. RNS: all differences are 0."]);
    // Of a metric that the table does not show there is nothing to say.
    assert!(notes(&[rns, note(Finding { metric: "map".into(), ..dns }, same)]).is_empty());
}

#[test]
fn the_caption_tells_what_was_corrected_together() {
    let fact = |findings: &[Finding], unit: Unit| {
        let layout = Layout { marks: Some(Marks { unit, ..marks() }), ..layout() };
        build(&layout, &scores(), findings, &[]).unwrap().facts[1].clone()
    };
    let strong = finding("dns", 0.02, Some(0.01));
    let impossible = Finding { p_adjusted: None, family: 3, ..finding("rns", 0.01, None) };
    let told = fact(&[strong.clone(), impossible], Unit::User);
    let expected = "Holm-corrected over the 3 to 4 tests of a comparison (baselines and metrics), \
                    without 1 that could not be made, p < 0.05.";
    assert!(told.ends_with(expected), "{told}");
    let folds = Finding { unit: Unit::Seed, pair_by: "fold".into(), correction: Correction::None, ..strong.clone() };
    let told = fact(&[folds], Unit::Seed);
    assert!(told.ends_with("paired t-test over folds, two-sided, uncorrected, p < 0.05."), "{told}");
    let mixed = [strong.clone(), Finding { correction: Correction::None, ..strong }];
    let told = fact(&mixed, Unit::User);
    assert!(told.contains("(baselines and metrics), others uncorrected, p"), "{told}");
}

#[test]
fn scores_that_are_not_finite_are_refused() {
    for value in [f64::NAN, f64::INFINITY] {
        let mut scores = scores();
        scores[7].value = value;
        let message = build(&layout(), &scores, &[], &[]).unwrap_err().to_string();
        assert!(message.contains(&format!("is {value}")) && message.contains("method=dns"), "{message}");
    }
}

#[test]
fn a_loss_has_a_minus_and_no_gain_has_no_sign() {
    let gain = |ours: f64| {
        let score = |method: &str, value| Score {
            labels: vec![("method".into(), method.into())],
            metric: "recall".into(),
            k: 20,
            value,
        };
        let metrics = metrics(&["recall@20"]);
        let layout = Layout { rows: "method".into(), metrics, ours: vec!["a".into()], ..Layout::default() };
        build(&layout, &[score("a", ours), score("b", 1.0)], &[], &[]).unwrap().improvement.unwrap().cells[0].clone()
    };
    assert_eq!([gain(0.991), gain(0.99999), gain(1.0), gain(1.5)], ["−0.90%", "0.00%", "0.00%", "+50.00%"]);
}

#[test]
fn cells_with_fewer_seeds_are_missing_and_counted() {
    let scores: Vec<Score> = scores()
        .into_iter()
        .filter(|score| {
            label_of(&score.labels, "method") != Some("dns") || label_of(&score.labels, "seed") != Some("2")
        })
        .filter(|score| {
            label_of(&score.labels, "method") != Some("rns") || label_of(&score.labels, "test") != Some("iid")
        })
        .collect();
    let table = build(&layout(), &scores, &[], &[]).unwrap();
    assert!(cells(&table, "dns").iter().all(|cell| cell.missing && cell.n == 2 && cell.text.is_empty()));
    assert!(cells(&table, "rns")[2].missing && cells(&table, "rns")[2].n == 0);
    assert_eq!(table.notes, ["Missing (—): 6 of 12 cells, 4 of them with fewer than 3 seeds."]);
}

#[test]
fn improvement_over_the_best_baseline() {
    let table = build(&Layout { ours: vec!["cnsdiff".into()], ..layout() }, &scores(), &[], &[]).unwrap();
    assert_eq!(table.improvement.unwrap().cells[0], "+55.00%");
    let against = Layout { ours: vec!["cnsdiff".into()], baselines: vec!["rns".into()], ..layout() };
    assert_eq!(build(&against, &scores(), &[], &[]).unwrap().improvement.unwrap().cells[0], "+210.00%");
}

#[test]
fn marks_stand_only_where_the_corrected_p_is_small() {
    let marked = |findings: &[Finding]| {
        let table = build(&Layout { marks: Some(marks()), ..layout() }, &scores(), findings, &[]).unwrap();
        (cells(&table, "cnsdiff")[0].mark, table.facts[1].clone())
    };
    let strong = finding("dns", 0.02, Some(0.01));
    let weak = finding("rns", 0.01, Some(0.9));
    let (mark, fact) = marked(&[weak.clone(), strong.clone()]);
    assert_eq!(mark, Some(Mark::Better));
    assert_eq!(
        fact,
        "* better than the strongest baseline: paired t-test over users, two-sided, Holm-corrected over the 4 tests of a \
         comparison (baselines and metrics), p < 0.05."
    );
    assert_eq!(marked(&[Finding { difference: -0.01, ..strong.clone() }]).0, Some(Mark::Worse));
    // What counts is the strongest baseline, and p itself is not enough at the level.
    assert_eq!(marked(&[Finding { p_adjusted: Some(0.01), ..weak }, finding("dns", 0.02, Some(0.05))]).0, None);
    let (none, fact) = marked(&[finding("dns", 0.02, None)]);
    assert_eq!(none, None);
    assert!(fact.starts_with("No difference"), "{fact}");
    assert_eq!(marked(&[Finding { metric: "ndcg".into(), ..strong }]).0, None);
}

#[test]
fn a_weaker_baseline_earns_no_mark_and_untested_rows_are_named() {
    let built = |findings: &[Finding], ours: &[&str]| {
        let ours = ours.iter().map(|label| (*label).to_owned()).collect();
        build(&Layout { marks: Some(marks()), ours, ..layout() }, &scores(), findings, &[]).unwrap()
    };
    // Only the weaker of two baselines was compared.
    let weaker = built(&[finding("rns", 0.01, Some(0.01))], &["cnsdiff"]);
    assert_eq!(cells(&weaker, "cnsdiff")[0].mark, None);
    assert_eq!(weaker.notes, ["Not tested: CNSDiff."]);
    // References along an axis of their own, which cells do not have.
    let mut strong = finding("rns", 0.01, Some(0.01));
    strong.labels.push(("ours".into(), "cnsdiff".into()));
    let both = built(&[strong], &["cnsdiff", "dns"]);
    assert_eq!(cells(&both, "cnsdiff")[0].mark, Some(Mark::Better));
    assert_eq!(both.notes, ["Not tested: dns."]);
}

#[test]
fn own_variants_are_no_baselines_of_marks() {
    let findings = [finding("rns", 0.01, Some(0.01)), finding("dns", 0.02, Some(0.9))];
    let marked = |ours: &[&str]| {
        let ours = ours.iter().map(|label| (*label).to_owned()).collect();
        let layout = Layout { marks: Some(marks()), ours, ..layout() };
        cells(&build(&layout, &scores(), &findings, &[]).unwrap(), "cnsdiff")[0].mark
    };
    assert_eq!(marked(&["cnsdiff"]), None);
    assert_eq!(marked(&["cnsdiff", "dns"]), Some(Mark::Better));
}

#[test]
fn marks_of_a_test_that_nobody_made() {
    let layout = Layout { marks: Some(Marks { unit: Unit::Seed, ..marks() }), ..layout() };
    let message = build(&layout, &scores(), &[finding("dns", 0.02, None)], &[]).unwrap_err().to_string();
    assert!(message.contains("`paired_t` over `seed`") && message.contains("`paired_t` over `user`"), "{message}");
}

#[test]
fn axes_and_names_that_do_not_fit() {
    let message = |layout: Layout| build(&layout, &scores(), &[], &[]).unwrap_err().to_string();
    assert!(message(Layout { over: None, ..layout() }).contains("axis `seed`"));
    assert!(message(Layout { rows: "model".into(), ..layout() }).contains("`rows` names the axis `model`"));
    assert!(message(Layout { over: Some("method".into()), ..layout() }).contains("named twice"));
    assert!(message(Layout { ours: vec!["cnsdif".into()], ..layout() }).contains("`cnsdiff`"));
    let metrics = metrics(&["map@5"]);
    assert!(message(Layout { metrics, ..layout() }).contains("`recall@20`"));
    let twice = [scores(), scores()].concat();
    assert!(matches!(build(&layout(), &twice, &[], &[]), Err(TableError::Repeated { .. })));
    assert_eq!(build(&layout(), &[], &[], &[]), Err(TableError::Empty));
}

/// Recall@20 and ARP@20 of three methods on one test: CNSDiff has the most right, and recommends what is least popular.
fn mixed() -> (Layout, Vec<Score>) {
    let score = |method: &str, metric: &str, value| Score {
        labels: vec![("method".into(), method.into())],
        metric: metric.into(),
        k: 20,
        value,
    };
    let methods = [("rns", 0.01, 40.0), ("dns", 0.02, 90.0), ("cnsdiff", 0.03, 30.0)];
    let scores = methods
        .iter()
        .flat_map(|&(method, recall, arp)| [score(method, "recall", recall), score(method, "arp", arp)])
        .collect();
    let layout = Layout {
        rows: "method".into(),
        metrics: metrics(&["recall@20", "arp@20"]),
        digits: 2,
        ours: vec!["cnsdiff".into()],
        ..Layout::default()
    };
    (layout, scores)
}

#[test]
fn the_best_is_the_smallest_where_lower_is_better() {
    let (layout, scores) = mixed();
    let table = build(&layout, &scores, &[], &[]).unwrap();
    let places = |column: usize| -> Vec<(bool, bool)> {
        table.rows.iter().map(|row| (row.cells[column].best, row.cells[column].second)).collect()
    };
    assert_eq!(places(0), [(false, false), (false, true), (true, false)]);
    assert_eq!(places(1), [(false, true), (false, false), (true, false)]);
    // The best baselines are DNS by recall and RNS by popularity.
    assert_eq!(table.improvement.unwrap().cells, ["+50.00%", "−25.00%"]);
    assert_eq!(table.facts[0], "Lower is better for ARP@20.");
    let titles = [("arp@20".to_owned(), "Popularity".to_owned())].into();
    let titled = build(&Layout { titles, ..layout }, &scores, &[], &[]).unwrap();
    assert_eq!(titled.facts[0], "Lower is better for Popularity.");
}

#[test]
fn only_fractions_are_shown_in_percent() {
    let (layout, scores) = mixed();
    let layout = Layout { percent: true, ..layout };
    let table = build(&layout, &scores, &[], &[]).unwrap();
    let texts: Vec<&str> = cells(&table, "cnsdiff").iter().map(|cell| cell.text.as_str()).collect();
    assert_eq!(texts, ["3.00", "30.00"]);
    assert_eq!(table.facts[0], "Values in percent, but for ARP@20.");
    let only = Layout { metrics: metrics(&["arp@20"]), ..layout };
    assert_eq!(build(&only, &scores, &[], &[]).unwrap().facts[0], "Lower is better for ARP@20.");
}

#[test]
fn marks_follow_what_is_better() {
    let (layout, scores) = mixed();
    let of = |baseline: &str, mean: f64, difference: f64| Finding {
        labels: Vec::new(),
        metric: "arp".into(),
        difference,
        ..finding(baseline, mean, Some(0.01))
    };
    let marked = |findings: &[Finding]| {
        let table = build(&Layout { marks: Some(marks()), ..layout.clone() }, &scores, findings, &[]).unwrap();
        (cells(&table, "cnsdiff")[1].mark, table.facts[1].clone())
    };
    let (mark, fact) = marked(&[of("rns", 40.0, -10.0)]);
    assert_eq!(mark, Some(Mark::Better));
    assert!(fact.starts_with("* better than the strongest baseline"), "{fact}");
    let (mark, fact) = marked(&[of("rns", 40.0, 10.0)]);
    assert_eq!(mark, Some(Mark::Worse));
    assert!(fact.starts_with("° worse than the strongest baseline"), "{fact}");
    // Against DNS, whose recommendations are more popular, nothing is decided.
    assert_eq!(marked(&[of("dns", 90.0, -60.0)]).0, None);
    // Along an axis that the table does not have, the strongest is that of the smallest mean.
    let along = |baseline: &str, mean, difference| Finding {
        axis: "loss".into(),
        labels: vec![("method".into(), "cnsdiff".into())],
        reference: "bpr".into(),
        ..of(baseline, mean, difference)
    };
    let scores: Vec<Score> = scores
        .iter()
        .map(|score| Score {
            labels: [score.labels.clone(), vec![("loss".into(), "bpr".into())]].concat(),
            ..score.clone()
        })
        .collect();
    let layout = Layout { columns: vec!["loss".into()], marks: Some(marks()), ..layout.clone() };
    let findings = [along("bce", 20.0, 10.0), along("softmax", 50.0, -20.0)];
    let table = build(&layout, &scores, &findings, &[]).unwrap();
    assert_eq!(cells(&table, "cnsdiff")[1].mark, Some(Mark::Worse));
}
