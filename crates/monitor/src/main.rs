//! `corten-monitor`: one per pod.

fn main() -> std::process::ExitCode {
    corten_monitor::start::main(std::env::args_os())
}
