//! Where an open file has data (lseek(2), `SEEK_DATA` and `SEEK_HOLE`). Holes are not read.

use std::fs::File;

use rustix::fs::{SeekFrom, Stat, seek};
use rustix::io::Errno;

use crate::tar::sparse::{MOST_SPANS, Map, Span};

/// The runs of data in a file, or `None` if it has no hole, or the file system cannot tell. Where the
/// file's cursor stands afterwards is not said.
pub(crate) fn map(file: &File, stat: &Stat) -> Result<Option<Map>, Errno> {
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    if size == 0 {
        return Ok(None);
    }
    // Most files need no more than this. Their number of blocks does not tell: a file system counts some of its own among
    // them, for attributes and the like, and what is reserved behind the end.
    match seek(file, SeekFrom::Hole(0)) {
        Err(Errno::INVAL | Errno::NOTSUP | Errno::NXIO) => return Ok(None),
        hole if hole? >= size => return Ok(None),
        _ => {}
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
