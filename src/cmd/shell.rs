//! `carrick completions` and `carrick man`.

use clap::CommandFactory;

use super::Cx;
use super::args::Cli;
use crate::fault::Outcome;

pub(super) fn completions(cx: &Cx, shell: clap_complete::Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "carrick", &mut script);
    cx.term.bytes(&script)
}

pub(super) fn man(cx: &Cx) -> Outcome {
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page)?;
    cx.term.bytes(&page)
}
