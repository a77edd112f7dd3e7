//! The program `carrick`: a node, and the commands that use it.

mod cmd;
mod control;
mod fault;
mod terminal;

fn main() -> std::process::ExitCode {
    cmd::main()
}
