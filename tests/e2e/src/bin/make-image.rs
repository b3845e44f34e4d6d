//! Makes an OCI archive of Debian's busybox-static that serves a web page: what `make run` runs.

use std::{fs::File, path::PathBuf, process::ExitCode};

use clap::Parser;
use corten_e2e::image::{self, Image, Layer};
use serde_json::json;

/// Writes an OCI image archive: busybox with a web page, serving it on port 80.
#[derive(Parser)]
struct Arguments {
    /// The image's name.
    #[arg(long, default_value = "example.corten.dev/web:1")]
    name: String,
    /// The web page.
    #[arg(long, default_value = "Served by a pod that Corten runs.\n")]
    page: String,
    /// The archive to write.
    archive: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let page = Layer::new().file("www/index.html", 0o644, arguments.page.as_bytes()).finish();
    let config = json!({
        "Env": ["PATH=/bin"],
        "Cmd": ["httpd", "-f", "-v", "-p", "80", "-h", "/www"],
        "ExposedPorts": {"80/tcp": {}},
    });
    let built = Image::of(vec![image::busybox_layer().to_vec(), page]).config(config).build();
    let written = File::create(&arguments.archive).and_then(|file| built.write_archive(&arguments.name, file));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("make-image: {}: {error}", arguments.archive.display());
            ExitCode::FAILURE
        }
    }
}
