//! Writes `tests/vectors/keys` anew, with fresh key files. Whoever runs it has changed a format, and looks at the difference.

#![allow(dead_code, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../tests/vault/fixed.rs"]
mod fixed;
#[path = "../tests/epochs/people.rs"]
mod people;
#[path = "../tests/epochs/vector_files.rs"]
mod vector_files;

fn main() -> std::io::Result<()> {
    let stored = vector_files::Stored::fresh();
    let derived = vector_files::derived(&stored);
    for (path, bytes) in stored.files().iter().chain(&derived) {
        let file = vector_files::folder().join(path);
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(file, bytes)?;
    }
    Ok(())
}
