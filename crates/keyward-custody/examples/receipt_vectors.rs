//! Writes `tests/vectors/receipts` anew. Whoever runs it has changed a format, and looks at the difference.

#![allow(dead_code, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../tests/vault/fixed.rs"]
mod fixed;
#[path = "../tests/receipts/hosts.rs"]
mod hosts;
#[path = "../tests/receipts/vector_files.rs"]
mod vector_files;

fn main() -> std::io::Result<()> {
    for (path, bytes) in vector_files::generate() {
        let file = vector_files::folder().join(path);
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(file, bytes)?;
    }
    Ok(())
}
