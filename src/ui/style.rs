//! Colours: whether to use them, and which colour each role of text has.

use std::env;

/// What the user asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorChoice {
    /// Colours on a terminal, unless `NO_COLOR` is set; everywhere with `CLICOLOR_FORCE`.
    #[default]
    Auto,
    Always,
    Never,
}

/// The role of a piece of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Good,
    Bad,
    Warn,
    Note,
    Dim,
    Strong,
}

/// Paints, or leaves text as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    pub color: bool,
}

impl Style {
    pub fn detect(choice: ColorChoice, terminal: bool) -> Self {
        let set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
        Self { color: decide(choice, redraws(terminal), set) }
    }

    pub fn paint(self, tone: Tone, text: &str) -> String {
        if !self.color {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Good => "32",
            Tone::Bad => "1;31",
            Tone::Warn => "33",
            Tone::Note => "36",
            Tone::Dim => "2",
            Tone::Strong => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// Whether a stream is a terminal that understands escape codes, and is looked at: that of a service for continuous
/// integration becomes a log.
pub fn redraws(terminal: bool) -> bool {
    let variable = |name: &str| env::var_os(name).and_then(|value| value.into_string().ok());
    terminal && understands(variable("TERM").as_deref(), variable("CI").as_deref())
}

fn understands(term: Option<&str>, ci: Option<&str>) -> bool {
    !matches!(term, None | Some("" | "dumb")) && matches!(ci, None | Some("" | "0" | "false"))
}

/// An explicit choice wins; `CLICOLOR_FORCE` wins over a missing terminal, `NO_COLOR` over both.
fn decide(choice: ColorChoice, terminal: bool, set: impl Fn(&str) -> bool) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto if set("NO_COLOR") => false,
        ColorChoice::Auto if set("CLICOLOR_FORCE") => true,
        ColorChoice::Auto => terminal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_decides_only_when_nothing_was_asked() {
        let with = |names: &'static [&'static str]| move |name: &str| names.contains(&name);
        assert!(decide(ColorChoice::Auto, true, with(&[])));
        assert!(!decide(ColorChoice::Auto, false, with(&[])));
        assert!(decide(ColorChoice::Auto, false, with(&["CLICOLOR_FORCE"])));
        assert!(!decide(ColorChoice::Auto, true, with(&["NO_COLOR", "CLICOLOR_FORCE"])));
        assert!(decide(ColorChoice::Always, false, with(&["NO_COLOR"])));
        assert!(!decide(ColorChoice::Never, true, with(&["CLICOLOR_FORCE"])));
    }
    #[test]
    fn terminals_without_a_type_and_those_of_services_get_plain_lines() {
        assert!(understands(Some("xterm-256color"), None));
        assert!(understands(Some("xterm"), Some("false")));
        for term in [None, Some(""), Some("dumb")] {
            assert!(!understands(term, None), "{term:?}");
        }
        for ci in ["true", "1", "woodpecker"] {
            assert!(!understands(Some("xterm"), Some(ci)), "{ci}");
        }
    }
}
