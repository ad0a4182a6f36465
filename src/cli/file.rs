//! Reads a config file and what its references to secrets lead to.
//!
//! The reading is done here, the understanding in [`crate::config`]. Everything that is read
//! has a limit, also when the path names a device that never ends.

use super::say;
use crate::config::model::defaults::{FILE_MAX, SECRET_MAX};
use crate::config::tls::PEM_MAX;
use crate::config::{Config, Secrets, check};
use crate::control::reload::{Loaded, NotLoaded};
use std::env::{self, VarError};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The environment and the file system of this process. A relative path begins at the
/// working directory.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Secrets for System {
    fn env(&self, name: &str) -> Result<Option<String>, String> {
        match env::var(name) {
            Ok(value) => Ok(Some(value)),
            Err(VarError::NotPresent) => Ok(None),
            Err(VarError::NotUnicode(_)) => Err("it is not UTF-8".to_owned()),
        }
    }

    fn file(&self, path: &str) -> Result<String, String> {
        // White space around the secret is cut off later; twice the limit leaves room for it.
        read(Path::new(path), 2 * SECRET_MAX)
    }

    fn pem(&self, path: &str) -> Result<String, String> {
        read(Path::new(path), PEM_MAX)
    }
}

/// Reads and checks the config file at `path`; warnings go to stderr.
///
/// # Errors
/// What to say: why it cannot be read, or all its faults as `file:line:column: text` lines.
pub fn load(path: &Path) -> Result<Config, String> {
    let loaded = read_config(path).map_err(|why| match why {
        NotLoaded::Unreadable(why) => why,
        NotLoaded::Bad(name, faults) => faults.show(&name),
    })?;
    loaded.warnings.iter().for_each(|warning| say(warning));
    Ok(loaded.config)
}

/// Reads and checks the config file at `path`, and says nothing.
///
/// # Errors
/// Why it gives no configuration.
pub fn read_config(path: &Path) -> Result<Loaded, NotLoaded> {
    let name = path.display().to_string();
    let text = read(path, FILE_MAX)
        .map_err(|why| NotLoaded::Unreadable(format!("{name}: cannot be read: {why}")))?;
    let checked = check(&text, &System).map_err(|faults| NotLoaded::Bad(name.clone(), faults))?;
    let warnings = checked.warnings.0.iter().map(|warning| {
        let (line, column) = (warning.line, warning.column);
        format!("{name}:{line}:{column}: warning: {}", warning.text)
    });
    Ok(Loaded {
        warnings: warnings.collect(),
        config: checked.config,
    })
}

/// The text of a file of at most `max` bytes.
fn read(path: &Path, max: usize) -> Result<String, String> {
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(|error| error.to_string())?;
    if bytes.len() > max {
        return Err(format!("it is larger than {max} bytes"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        format!("it is not UTF-8 at byte {at}")
    })
}
