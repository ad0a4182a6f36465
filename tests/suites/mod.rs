//! Where the suites and recordings are that the laws are tested against: the folder that
//! `SHARDGATE_SHARED` names, else `shared` next to the repository.

use std::path::{Path, PathBuf};

/// A folder of the suites; a test that needs one fails loudly without it.
pub(crate) fn shared(folder: &str) -> PathBuf {
    let root = std::env::var_os("SHARDGATE_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"),
        PathBuf::from,
    );
    let path = root.join(folder);
    assert!(
        path.exists(),
        "{} is missing: set SHARDGATE_SHARED to the folder of the corpora",
        path.display()
    );
    path
}
