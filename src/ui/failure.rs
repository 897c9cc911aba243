//! What a user reads when a stage failed or warns, and at the end of a run.

use super::text::{count, duration, one_line, shorten, visible};
use super::{Style, Tone};
use crate::engine::event::{Failure, Summary, Warning};

/// The message, what to do, the last lines of the log and where the rest is.
pub fn failure(style: Style, id: &str, failure: &Failure) -> String {
    let mut text = format!("{} {}", style.paint(Tone::Bad, "failed"), style.paint(Tone::Strong, &one_line(id)));
    for line in visible(&failure.error.message, false).lines() {
        text.push_str(&format!("\n  {line}"));
    }
    if let Some(help) = &failure.error.help {
        text.push_str(&format!("\n  {} {help}", style.paint(Tone::Note, "help:"), help = visible(help, false)));
    }
    if !failure.log_tail.is_empty() {
        text.push_str(&format!("\n  {}", style.paint(Tone::Dim, "last lines of its log:")));
        for line in &failure.log_tail {
            text.push_str(&format!("\n    {}", one_line(line)));
        }
    }
    if let Some(path) = &failure.log_path {
        text.push_str(&format!("\n  {} {}", style.paint(Tone::Dim, "log:"), path.display()));
    }
    text
}

/// One line: what was found, and what follows from it.
pub fn damaged(style: Style, id: &str, artifact: &str, reason: &str) -> String {
    let word = style.paint(Tone::Warn, "damaged");
    format!("{word} artifact `{artifact}` of {} in the cache: {reason}; it is made anew", style.paint(Tone::Strong, id))
}

/// What a first Ctrl-C does.
pub fn interrupted(style: Style, running: usize) -> String {
    let word = style.paint(Tone::Warn, "interrupted");
    let what = if running == 0 { String::new() } else { format!(" {}", count(running, "running stage")) };
    format!("{word}: ending{what} (again: at once)")
}

/// A fact about the results of one stage.
pub fn warning(style: Style, id: &str, text: &str) -> String {
    format!("{} {id}: {}", style.paint(Tone::Warn, "warning:"), shorten(text, WARNING))
}

/// Characters of a warning that are shown.
const WARNING: usize = 300;
/// Warnings and instances that are shown; the others are counted.
const WARNINGS: usize = 12;
const IDS: usize = 3;

/// What should be known about all results of a run, as far as it fits on a screen; nothing where there is nothing.
pub fn warnings(style: Style, warnings: &[Warning]) -> Option<String> {
    let mut lines: Vec<String> = Vec::new();
    for Warning { text, ids } in warnings.iter().take(WARNINGS) {
        let mut shown = ids.iter().take(IDS).map(String::as_str).collect::<Vec<_>>().join(", ");
        if ids.len() > IDS {
            shown.push_str(&format!(" and {} more", ids.len() - IDS));
        }
        lines.push(warning(style, &shown, text));
    }
    if warnings.len() > WARNINGS {
        let more = count(warnings.len() - WARNINGS, "warning");
        lines.push(format!("{more} more: `status --json` has all"));
    }
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// `done: 3 executed, 17 cached, in 12 s`.
pub fn summary(style: Style, summary: &Summary) -> String {
    let (tone, word) = match summary {
        Summary { failed: 1.., .. } => (Tone::Bad, "failed"),
        Summary { cancelled: 1.., .. } => (Tone::Warn, "interrupted"),
        _ => (Tone::Good, "done"),
    };
    let parts = [
        (summary.failed, "failed"),
        (summary.executed, "executed"),
        (summary.cached, "cached"),
        (summary.skipped, "skipped"),
        (summary.cancelled, "not finished"),
    ];
    let parts: Vec<String> =
        parts.iter().filter(|(number, _)| *number > 0).map(|(number, what)| format!("{number} {what}")).collect();
    let parts = if parts.is_empty() { count(0, "stage") } else { parts.join(", ") };
    format!("{}: {parts}, in {}", style.paint(tone, word), duration(summary.seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::stage::StageError;

    #[test]
    fn a_failure_shows_message_help_and_log() {
        let shown = failure(
            Style { color: false },
            "model[seed=1]",
            &Failure {
                error: StageError::new("the worker was killed by signal 9").with_help("give it more memory"),
                log_tail: vec!["epoch 3".to_owned()],
                log_path: Some("cache/logs/ab.log".into()),
            },
        );
        insta::assert_snapshot!(shown, @r"
        failed model[seed=1]
          the worker was killed by signal 9
          help: give it more memory
          last lines of its log:
            epoch 3
          log: cache/logs/ab.log
        ");
    }

    #[test]
    fn control_characters_of_messages_and_logs_are_spelled_out() {
        let shown = failure(
            Style { color: true },
            "raw[a=\u{202e}]",
            &Failure {
                error: StageError::new("line 2: `\x1b]0;PWN\x07\x1b[31m b`\nmore").with_help("\u{9b}2J"),
                log_tail: vec!["\x1b[2J\rgone".to_owned()],
                log_path: None,
            },
        );
        for spelled in [r"raw[a=\u{202e}]", r"`\x1b]0;PWN\x07\x1b[31m b`", "\n  more", r"\x9b2J", r"\x1b[2J\rgone"] {
            assert!(shown.contains(spelled), "{spelled} is missing in {shown:?}");
        }
    }

    #[test]
    fn warnings_at_the_end_of_a_run_are_grouped_and_clipped() {
        let style = Style { color: false };
        assert_eq!(warnings(style, &[]), None);
        let ids = (0..5).map(|fold| format!("split[fold={fold}]")).collect();
        let many = Warning { text: "66 users are left".to_owned(), ids };
        let one = Warning { text: "x".repeat(10_000), ids: vec!["raw".to_owned()] };
        let shown = warnings(style, &[many.clone(), one]).unwrap();
        let (first, second) = shown.split_once('\n').unwrap();
        assert_eq!(first, "warning: split[fold=0], split[fold=1], split[fold=2] and 2 more: 66 users are left");
        assert!(second.chars().count() < 330, "{second}");
        let shown = warnings(style, &vec![many; 20]).unwrap();
        assert_eq!(
            (shown.lines().count(), shown.lines().last()),
            (13, Some("8 warnings more: `status --json` has all"))
        );
    }

    #[test]
    fn a_summary_names_only_what_happened() {
        let all = Summary { executed: 3, cached: 17, seconds: 12.0, ..Summary::default() };
        assert_eq!(summary(Style { color: false }, &all), "done: 3 executed, 17 cached, in 12 s");
        let bad = Summary { failed: 1, skipped: 2, seconds: 0.25, ..Summary::default() };
        assert_eq!(summary(Style { color: false }, &bad), "failed: 1 failed, 2 skipped, in 0.2 s");
    }
}
