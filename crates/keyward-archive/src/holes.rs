//! Where an open file has data (lseek(2), `SEEK_DATA` and `SEEK_HOLE`). Holes are not read.

use std::fs::File;

use rustix::fs::{SeekFrom, Stat, seek};
use rustix::io::Errno;

use crate::tar::sparse::{MOST_SPANS, Map, Span};

/// The runs of data in a file, or `None` if it has no hole, or the file system cannot tell. Where the
/// file's cursor stands afterwards is not said.
pub(crate) fn map(file: &File, stat: &Stat) -> Result<Option<Map>, Errno> {
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    // What fills as many blocks as its size needs has no holes; most files need no more than this.
    if u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512) >= size {
        return Ok(None);
    }
    let mut spans: Vec<Span> = Vec::new();
    let mut at = 0;
    while at < size {
        let offset = match seek(file, SeekFrom::Data(at)) {
            // Nothing but a hole to the end.
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::NOTSUP) => return Ok(None),
            found => found?,
        };
        if offset >= size {
            break;
        }
        let end = match seek(file, SeekFrom::Hole(offset)) {
            Err(Errno::NXIO) => size,
            found => found?.min(size),
        };
        let end = if spans.len() + 1 == MOST_SPANS { size } else { end };
        if end <= offset {
            break;
        }
        spans.push(Span { offset, length: end - offset });
        at = end;
    }
    let whole = matches!(spans.as_slice(), [Span { offset: 0, length }] if *length == size);
    Ok((!whole).then(|| spans.into()))
}
