//! How people name stages and instances: `model`, `model[dataset=food,seed=1]`, or some of the labels, `model[seed=1]`.
//! The one reader of such names for all commands: whatever is named wrongly is refused.

use std::collections::BTreeSet;

use super::{Plan, PlanError};
use crate::spec::suggest;

impl Plan {
    /// The instances that `name` means, in the order of the pipeline; at least one.
    ///
    /// # Errors
    /// The stage, an axis or a label is unknown, or the name is not complete.
    pub fn select(&self, name: &str) -> Result<Vec<usize>, PlanError> {
        let (stage_name, filter) = name.split_once('[').map_or((name, None), |(stage, rest)| (stage, Some(rest)));
        let stages = &self.pipeline.stages;
        let Some(stage) = stages.iter().find(|stage| stage.name == stage_name.trim()) else {
            let help = suggest::help(stage_name, "stages", stages.iter().map(|stage| stage.name.as_str()));
            return Err(wrong(format!("there is no stage `{}`", suggest::clipped(stage_name)), help));
        };
        let Some(filter) = filter else { return Ok(stage.instances.clone().collect()) };
        let example = match self.pipeline.instances[stage.instances.clone()].first() {
            Some(instance) => format!("write axis and label, as in `{}`", instance.id),
            None => "it has no instances".to_owned(),
        };
        let Some(filter) = filter.strip_suffix(']') else {
            return Err(wrong(format!("`{}` does not end with `]`", suggest::clipped(name)), example));
        };
        let mut found: Vec<usize> = stage.instances.clone().collect();
        let mut named = BTreeSet::new();
        for part in filter.split(',') {
            let Some((axis, label)) = part.split_once('=').map(|(axis, label)| (axis.trim(), label.trim())) else {
                let message =
                    format!("`{}` does not say which axis `{}` is of", suggest::clipped(name), suggest::clipped(part));
                return Err(wrong(message, example));
            };
            let Some(number) = stage.axes.iter().position(|known| known == axis) else {
                let help = suggest::help(axis, "its axes", stage.axes.iter().map(String::as_str));
                return Err(wrong(
                    format!("the stage `{}` has no axis `{}`", stage.name, suggest::clipped(axis)),
                    help,
                ));
            };
            if !named.insert(axis) {
                return Err(wrong(format!("`{}` names the axis `{axis}` twice", suggest::clipped(name)), example));
            }
            let label_of = |index: usize| self.instance(index).labels[number].1.as_str();
            if !stage.instances.clone().any(|index| label_of(index) == label) {
                let labels: BTreeSet<&str> = stage.instances.clone().map(label_of).collect();
                let help = suggest::help(label, "its labels", labels.iter().copied());
                let (label, stage) = (suggest::clipped(label), &stage.name);
                return Err(wrong(format!("no instance of `{stage}` has the label `{label}` on `{axis}`"), help));
            }
            found.retain(|&index| label_of(index) == label);
        }
        if found.is_empty() {
            let message = format!("there is no instance `{}`", suggest::clipped(name));
            return Err(wrong(message, "its labels exist, but this combination of them was dropped".to_owned()));
        }
        Ok(found)
    }
}

fn wrong(message: String, help: String) -> PlanError {
    PlanError::Selection { message, help }
}
