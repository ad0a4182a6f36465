//! From this process to the next one: who starts it, and how long the old one may take.

use super::notify::Notify;
use crate::base::time::Instant;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// How often the service manager is asked for patience.
const EVERY: Duration = Duration::from_secs(2);

/// For how long each time.
const FOR: Duration = Duration::from_secs(15);

/// Asks the service manager for time while exchanges run on.
#[derive(Debug)]
pub struct Patience {
    notify: Notify,
    /// A successor is the main process: this one says nothing.
    is_silent: bool,
    next: Option<Instant>,
}

impl Patience {
    /// The drain begins.
    pub fn new(notify: &Notify, is_handed_over: bool) -> Self {
        if !is_handed_over {
            notify.stopping();
        }
        Self {
            notify: notify.clone(),
            is_silent: is_handed_over,
            next: None,
        }
    }

    /// `open` exchanges go on at `now`.
    pub fn ask(&mut self, now: Instant, open: u64) {
        if self.is_silent || self.next.is_some_and(|next| now < next) {
            return;
        }
        self.next = Some(now + EVERY);
        self.notify.extend(FOR);
        self.notify
            .status(&format!("draining: {open} exchanges are open"));
    }
}

/// Starts this program again, from its file as it is now and with `--takeover`; `ended` is
/// called when it has failed.
///
/// # Errors
/// Why it cannot be started.
pub fn start(notify: &Notify, ended: impl FnOnce(&str) + Send + 'static) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot start a successor: {error}");
    let mut command = Command::new(own_file().map_err(failed)?);
    let arguments = std::env::args_os()
        .skip(1)
        .filter(|word| word != "--takeover");
    command.args(arguments).arg("--takeover");
    command.envs(notify.variables().iter().map(|(name, value)| (name, value)));
    let mut child = command.spawn().map_err(failed)?;
    let waiting = move || match child.wait() {
        Ok(status) if status.success() => {}
        Ok(status) => ended(&format!("the successor ended: {status}")),
        Err(error) => ended(&format!("the successor is lost: {error}")),
    };
    thread::Builder::new()
        .name("successor".to_owned())
        .spawn(waiting)
        .map_err(failed)?;
    Ok(())
}

/// The program's file: the new one where it has been replaced.
fn own_file() -> std::io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let shown = own.to_string_lossy();
    Ok(shown
        .strip_suffix(" (deleted)")
        .map(PathBuf::from)
        .unwrap_or(own.clone()))
}
