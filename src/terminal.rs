//! Everything that reaches standard output and standard error: data to the one, all else to the other.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::control::wire::Refusal;
use crate::fault::{Fault, Outcome};

/// How to speak: to a person or a program, with colour or without.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terminal {
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    pub(crate) color: Color,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Whether standard error gets colour.
    pub(crate) fn on_stderr(self) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => {
                io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
            }
        }
    }
}

impl Terminal {
    /// A line of data for a person.
    pub(crate) fn line(&self, text: impl Display) -> Outcome {
        self.write_line(&mut io::stdout().lock(), text)
    }

    /// A line of data for a program.
    pub(crate) fn json(&self, value: &impl Serialize) -> Outcome {
        self.line(text_of(value))
    }

    /// A line for a program, beside the data.
    pub(crate) fn json_aside(&self, value: &impl Serialize) -> Outcome {
        self.write_line(&mut io::stderr().lock(), text_of(value))
    }

    /// What a stranger has to say, for a person: as text, or how many bytes it is.
    pub(crate) fn payload(&self, text: Option<&str>, bytes: usize) -> Outcome {
        match text {
            Some(text) => self.line(harmless(text, io::stdout().is_terminal())),
            None => self.line(format!("({bytes} bytes, no text; --json shows them)")),
        }
    }

    /// One answer: an object for a program, a line for a person.
    pub(crate) fn answer(&self, value: &impl Serialize, text: impl Display) -> Outcome {
        if self.json { self.json(value) } else { self.line(text) }
    }

    /// Bytes of data, as they are.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Outcome {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        Ok(out.flush()?)
    }

    /// A hint for a person, beside the data. Nobody misses it if it cannot be written.
    pub(crate) fn note(&self, text: impl Display) {
        if !self.json && !self.quiet {
            let _ = writeln!(io::stderr().lock(), "{text}");
        }
    }

    /// What failed, and the mend: two lines, or one object.
    pub(crate) fn fault(&self, fault: &Fault) {
        let mut err = io::stderr().lock();
        let _ = if self.json {
            writeln!(err, "{}", text_of(&Refusal { error: fault.clone() }))
        } else {
            let [red, cyan, plain] =
                if self.color.on_stderr() { ["\x1b[1;31m", "\x1b[1;36m", "\x1b[0m"] } else { [""; 3] };
            let mend = fault.hint.as_ref().map(|hint| format!("\n{cyan}mend{plain}: {hint}"));
            writeln!(err, "{red}error{plain}: {}{}", fault.line(), mend.unwrap_or_default())
        };
    }

    /// A bar for long work, on a terminal only. Without a total it counts.
    pub(crate) fn progress(&self, what: &'static str, total: Option<u64>) -> ProgressBar {
        let template = match total {
            Some(_) => "{prefix} {wide_bar} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}",
            None => "{prefix} {spinner} {decimal_bytes} {decimal_bytes_per_sec} {wide_msg}",
        };
        self.bar(what, total, template)
    }

    /// A bar over things that are counted one by one.
    pub(crate) fn count(&self, what: &'static str, total: u64) -> ProgressBar {
        self.bar(what, Some(total), "{prefix} {wide_bar} {pos} of {len}")
    }

    fn bar(&self, what: &'static str, total: Option<u64>, template: &str) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        if self.json || self.quiet || !io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.with_style(style).with_prefix(what)
    }

    fn write_line(&self, out: &mut impl Write, text: impl Display) -> Outcome {
        writeln!(out, "{text}")?;
        Ok(out.flush()?)
    }
}

/// A value in one line of JSON. Ours have no keys that are not text, so it cannot fail.
fn text_of(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| format!("{{\"error\":{:?}}}", error.to_string()))
}

/// A table for people; without lines, so that it can be cut and pasted.
pub(crate) fn table(head: &[&str]) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(head.iter().map(|h| h.to_uppercase()));
    table
}

/// A table as text, without the room that it would take at the edges.
pub(crate) fn show(mut table: comfy_table::Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// A path as a shell takes it.
pub(crate) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+@%:,".contains(c);
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(plain) {
        return text;
    }
    let dash = if text.starts_with('-') { "./" } else { "" };
    format!("'{dash}{}'", text.replace('\'', r"'\''"))
}

/// A number of bytes for a person: 1.5 MiB.
pub(crate) fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// A stranger's text: what would move the cursor or change colours is shown, not done, on a terminal.
pub(crate) fn harmless(text: &str, terminal: bool) -> Cow<'_, str> {
    let commands = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !terminal || !text.contains(commands) {
        return text.into();
    }
    text.chars().map(|c| if commands(c) { c.escape_default().to_string() } else { c.into() }).collect()
}

/// A stranger's name for a thing, in one line.
pub(crate) fn name(text: &str) -> Cow<'_, str> {
    if text.contains(char::is_control) { text.escape_debug().to_string().into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::{harmless, name, quoted};
    use std::path::Path;

    #[test]
    fn a_path_is_quoted_where_a_shell_needs_it() {
        let quoted = |path: &str| quoted(Path::new(path));
        assert_eq!(quoted("/home/größe/node-1"), "/home/größe/node-1");
        assert_eq!(quoted("my node"), "'my node'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted("$HOME;x"), "'$HOME;x'");
        assert_eq!(quoted("-x"), "'./-x'");
    }

    #[test]
    fn a_message_does_not_command_the_terminal() {
        assert_eq!(harmless("a\x1b[2Jb\tü\n", true), "a\\u{1b}[2Jb\tü\n");
        assert_eq!(harmless("a\x1b[2J", false), "a\x1b[2J", "a pipe gets what was sent");
    }

    #[test]
    fn a_name_stays_in_its_line() {
        assert_eq!(name("größe \"a\".txt"), "größe \"a\".txt");
        assert_eq!(name("a\nb\x1b[2J"), "a\\nb\\u{1b}[2J");
    }
}
