//! `plan`: what a run would find in the cache, what it would execute, what waits, and how long it may take. Runs
//! nothing.

use serde_json::json;

use super::args::{GlobalArgs, PlanArgs};
use super::duplicates;
use super::exit::{CliError, DONE, FAILED, WOULD_RUN};
use super::project::{Project, engine_error, open_store};
use crate::engine::{self, Machine, Options, State};
use crate::store::Store;
use crate::ui::{Tone, Ui, text};

pub fn main(args: &PlanArgs, global: &GlobalArgs, ui: &Ui) -> Result<u8, CliError> {
    let project = Project::load(&args.selection, ui)?;
    let store = open_store(global)?;
    let options = project.options(&args.mirrors);
    let code = show(&project, &store, &options, args.all, ui)?;
    Ok(if code == WOULD_RUN && !args.exit_code { DONE } else { code })
}

/// One word for where an instance stands.
pub fn word(state: &State) -> &'static str {
    match state {
        State::Excluded => "excluded",
        State::Hit { .. } => "cached",
        State::Miss { .. } => "run",
        State::Waits { .. } => "waits",
        State::Failed { .. } => "failed",
        State::Executed { .. } => "executed",
        State::Skipped => "skipped",
        State::Cancelled { .. } => "cancelled",
    }
}

/// Shows the plan; [`WOULD_RUN`] when there is something to do, [`FAILED`] when a stage cannot be run.
pub fn show(project: &Project, store: &Store, options: &Options, all: bool, ui: &Ui) -> Result<u8, CliError> {
    let plan = &project.plan;
    let states = engine::probe(plan, &project.registry, store, options).map_err(engine_error)?;
    let seconds = engine::estimate(plan, store, options, &states);
    let count = |wanted: fn(&State) -> bool| states.iter().filter(|state| wanted(state)).count();
    let run = count(|state| matches!(state, State::Miss { .. }));
    let waits = count(|state| matches!(state, State::Waits { .. }));
    let failed = count(|state| matches!(state, State::Failed { .. }));
    let cached = count(|state| matches!(state, State::Hit { .. }));
    let total: f64 = seconds.iter().flatten().sum();
    let unknown = seconds.iter().filter(|seconds| seconds.is_none()).count();
    if ui.json {
        for (index, state) in states.iter().enumerate() {
            let waits_on: Option<Vec<&String>> = match state {
                State::Waits { on } => Some(on.iter().map(|&source| &plan.instance(source).id).collect()),
                _ => None,
            };
            ui.result_json(&json!({
                "id": plan.instance(index).id,
                "state": word(state),
                "key": state.key(),
                "waits_on": waits_on,
                "seconds": seconds[index],
            }))?;
        }
        ui.result_json(&json!({
            "cached": cached, "run": run, "waits": waits, "failed": failed, "seconds": total, "unknown": unknown,
        }))?;
    } else {
        ui.result(&if all {
            by_instance(project, &states, &seconds, ui)
        } else {
            by_stage(project, &states, &seconds, ui)
        });
        for (index, state) in states.iter().enumerate() {
            if let State::Failed { failure, .. } = state {
                let id = &plan.instance(index).id;
                ui.error(&format!("`{id}` cannot be run: {}", failure.error), failure.error.help.as_deref());
            }
        }
        ui.result(&summary(run, waits, cached, total, unknown));
    }
    duplicates::report(plan, &states, ui);
    warn_of_memory(project, &states, ui);
    Ok(match (failed, run + waits) {
        (0, 0) => DONE,
        (0, _) => WOULD_RUN,
        _ => FAILED,
    })
}

/// A stage that needs more memory than the machine has still runs, alone; but it may well be killed.
fn warn_of_memory(project: &Project, states: &[State], ui: &Ui) {
    let plan = &project.plan;
    let machine = Machine::detect(0);
    let needs = |index: usize| {
        let instance = plan.instance(index);
        let kind = project.registry.get(&plan.pipeline.stages[instance.stage].kind)?;
        Some((kind.demands)(&instance.params).resources.memory_mib)
    };
    let pending = |&index: &usize| matches!(states[index], State::Miss { .. } | State::Waits { .. });
    let most = (0..plan.len()).filter(pending).filter_map(|index| Some((needs(index)?, index))).max();
    if let Some((memory, index)) = most.filter(|&(memory, _)| memory > machine.memory_mib) {
        let (id, has) = (&plan.instance(index).id, text::bytes(machine.memory_mib << 20));
        let memory = text::bytes(memory.saturating_mul(1 << 20));
        ui.warn(&format!("`{id}` may need {memory} of memory; this machine has {has}"));
    }
}

fn summary(run: usize, waits: usize, cached: usize, total: f64, unknown: usize) -> String {
    if run + waits == 0 {
        return format!("nothing to do: {} cached", text::count(cached, "stage"));
    }
    let known = run + waits - unknown;
    let time = match (known, unknown) {
        (0, _) => "no history to tell the time".to_owned(),
        (_, 0) => format!("about {} of work", text::duration(total)),
        _ => format!("about {} of work, and {unknown} of unknown length", text::duration(total)),
    };
    // What waits may turn out to be cached: its inputs can come out the same.
    format!("{run} to run, {waits} waiting for them, {cached} cached; {time}")
}

fn by_stage(project: &Project, states: &[State], seconds: &[Option<f64>], ui: &Ui) -> String {
    let row = |stage: &crate::spec::StageDef| {
        let range = stage.instances.clone();
        let number = |wanted: &str| match range.clone().filter(|&index| word(&states[index]) == wanted).count() {
            0 => String::new(),
            number => number.to_string(),
        };
        let pending = range.clone().filter(|&index| matches!(states[index], State::Miss { .. } | State::Waits { .. }));
        let known: Vec<f64> = pending.filter_map(|index| seconds[index]).collect();
        let time = if known.is_empty() { String::new() } else { text::duration(known.iter().sum()) };
        vec![stage.name.clone(), stage.kind.clone(), number("cached"), number("run"), number("waits"), time]
    };
    let rows: Vec<Vec<String>> = project.plan.pipeline.stages.iter().map(row).collect();
    text::table(ui.out, &["stage", "kind", "cached", "run", "waits", "time"], &rows)
}

fn by_instance(project: &Project, states: &[State], seconds: &[Option<f64>], ui: &Ui) -> String {
    let plan = &project.plan;
    let line = |&index: &usize| {
        let state = &states[index];
        let tone = match state {
            State::Hit { .. } => Tone::Dim,
            State::Failed { .. } => Tone::Bad,
            _ => Tone::Note,
        };
        let mut line = format!("{} {}", ui.out.paint(tone, &format!("{:8}", word(state))), plan.instance(index).id);
        match state {
            State::Waits { on } => {
                let first = on.first().map_or("", |&source| plan.instance(source).id.as_str());
                let more = if on.len() > 1 { format!(" and {} more", on.len() - 1) } else { String::new() };
                line.push_str(&format!("  (on {first}{more})"));
            }
            State::Miss { forced: true, .. } => line.push_str("  (forced)"),
            _ => {}
        }
        if let (State::Miss { .. } | State::Waits { .. }, Some(seconds)) = (state, seconds[index]) {
            line.push_str(&format!("  about {}", text::duration(seconds)));
        }
        line
    };
    plan.order.iter().map(line).collect::<Vec<_>>().join("\n")
}
