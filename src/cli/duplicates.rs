//! Finds instances of a stage that are the same computation under two names, so that two labels of a table show the
//! same numbers.

use std::collections::HashMap;

use crate::engine::State;
use crate::plan::Plan;
use crate::ui::Ui;

/// More are only counted.
const SHOWN: usize = 5;

/// Instances of one stage with one key, each with the first of them. What follows from others of the kind (the score of
/// a model that has two names) is left out.
pub fn find(plan: &Plan, states: &[State]) -> Vec<(usize, usize)> {
    let mut first: HashMap<_, usize> = HashMap::new();
    let mut same: Vec<usize> = (0..plan.len()).collect();
    let mut found = Vec::new();
    for &index in &plan.order {
        let Some(key) = states[index].key() else { continue };
        let other = *first.entry((plan.instance(index).stage, key)).or_insert(index);
        if other == index {
            continue;
        }
        same[index] = other;
        let (own, others) = (&plan.sources[index], &plan.sources[other]);
        let follows =
            own.len() == others.len() && own != others && own.iter().zip(others).all(|(&a, &b)| same[a] == same[b]);
        if !follows {
            found.push((other, index));
        }
    }
    found
}

/// Points them out.
pub fn report(plan: &Plan, states: &[State], ui: &Ui) {
    let found = find(plan, states);
    for &(first, second) in found.iter().take(SHOWN) {
        let [first, second] = [first, second].map(|index| plan.instance(index).id.as_str());
        ui.warn(&format!("`{first}` and `{second}` are the same computation under two names"));
    }
    if found.len() > SHOWN {
        ui.warn(&format!("{} more are computed once and have several names", found.len() - SHOWN));
    }
}
