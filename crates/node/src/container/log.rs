//! A container's log, which its pod's monitor writes.

use corten_monitor::protocol::CallError;

use super::{Container, process, start};
use crate::error::{Error, Result};

/// Has the log path opened again. Whatever the container has said before goes to the file that was open so far.
///
/// # Errors
/// [`Error::Precondition`] if the container does not run, [`Error::Node`] with the path if it cannot be opened: the file that
/// was open so far goes on then.
pub async fn reopen(container: &Container) -> Result<()> {
    let monitor = process::running(container)?;
    let shown = || container.log_file().unwrap_or_default().display().to_string();
    match monitor.reopen_log(container.id()).await {
        Ok(()) => Ok(()),
        Err(CallError::Node { step, error }) if step == "log" => {
            Err(Error::node(format!("open the log {}", shown()), error))
        }
        Err(error) => Err(start::call_error(container, error)),
    }
}
