//! `cortend`: the node daemon.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use corten_node::config::{Config, DEFAULT_PATH, LogConfig, LogFormat};
use corten_node::server;
use tracing_subscriber::EnvFilter;

/// Corten's node daemon: serves the Container Runtime Interface on a unix socket.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file [default: /etc/corten/config.toml if it exists, else built-in defaults]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Check the configuration and exit
    #[arg(long)]
    check: bool,

    /// Print the configuration in force, defaults included, as TOML and exit
    #[arg(long)]
    print_config: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cortend: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::load(arguments.config.as_deref())?;
    if arguments.print_config {
        print!("{}", toml::to_string(&config)?);
        return Ok(());
    }
    if arguments.check {
        let path = arguments.config.as_deref().map_or(DEFAULT_PATH.into(), |path| path.display().to_string());
        println!("{path}: the configuration is valid");
        return Ok(());
    }
    log(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(server::run(config));
    // What hangs in a file system or a plug-in is not waited for.
    runtime.shutdown_background();
    Ok(outcome?)
}

fn log(config: &LogConfig) -> Result<(), Box<dyn std::error::Error>> {
    let filter = match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(filter) => filter,
        Err(_) => config.filter.clone(),
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(&filter).map_err(|error| format!("log.filter = {filter:?}: {error}"))?)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    match config.format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}
