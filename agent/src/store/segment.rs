//! A file of bodies, one after the other, each behind its digest and length.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use skiff_shared::object::Digest;

const DIGEST: usize = 16;
const HEADER: usize = DIGEST + 4;
const SUFFIX: &str = ".bodies";

/// A buffer that has grown beyond this is given back.
const SPARE: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct Segment {
    file: Arc<File>,
    length: u32,
    buffer: Vec<u8>,
}

/// A body as its segment lists it.
pub(super) struct Entry {
    pub(super) digest: Digest,
    pub(super) offset: u32,
    pub(super) length: u32,
}

/// Returns the path of a segment.
pub(super) fn path(root: &Path, number: u32) -> PathBuf {
    root.join(format!("{number:08}{SUFFIX}"))
}

/// Returns the number of the segment that has this file name.
pub(super) fn number(name: &str) -> Option<u32> {
    name.strip_suffix(SUFFIX)?.parse().ok()
}

/// Reads a body.
pub(super) fn read(file: &File, offset: u32, length: u32) -> io::Result<Vec<u8>> {
    let mut body = vec![0; usize::try_from(length).expect("32 bits fit")];
    file.read_exact_at(&mut body, u64::from(offset))?;
    Ok(body)
}

impl Segment {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        Ok(Self { file: Arc::new(file), length: 0, buffer: Vec::new() })
    }

    /// Opens a segment and returns where its bodies lie. What follows a torn header is lost.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Vec<Entry>)> {
        let file = File::open(path)?;
        let size = u32::try_from(file.metadata()?.len()).unwrap_or(u32::MAX);
        let mut reader = BufReader::with_capacity(4 << 10, &file);
        let (mut bodies, mut at) = (Vec::new(), 0_u32);
        let mut header = [0; HEADER];
        while reader.read_exact(&mut header).is_ok() {
            let (digest, length) = parse(&header);
            let offset = at.saturating_add(u32::try_from(HEADER).expect("it is small"));
            let end = offset.saturating_add(length);
            if length == 0 || end > size {
                break;
            }
            bodies.push(Entry { digest, offset, length });
            reader.seek_relative(i64::from(length))?;
            at = end;
        }
        Ok((Self { file: Arc::new(file), length: size, buffer: Vec::new() }, bodies))
    }

    pub(super) fn file(&self) -> Arc<File> {
        self.file.clone()
    }

    pub(super) fn length(&self) -> u32 {
        self.length
    }

    /// Writes a body and returns its offset and length. What a failed write leaves is written over by the next.
    pub(super) fn append(&mut self, digest: Digest, body: &[u8]) -> io::Result<(u32, u32)> {
        let too_large = || io::Error::from(io::ErrorKind::FileTooLarge);
        let length = u32::try_from(body.len()).map_err(|_| too_large())?;
        let header = u32::try_from(HEADER).expect("it is small");
        let offset = self.length.checked_add(header).ok_or_else(too_large)?;
        let end = offset.checked_add(length).ok_or_else(too_large)?;
        self.buffer.clear();
        self.buffer.extend_from_slice(&digest.0);
        self.buffer.extend_from_slice(&length.to_be_bytes());
        self.buffer.extend_from_slice(body);
        self.file.write_all_at(&self.buffer, u64::from(self.length))?;
        self.buffer.clear();
        self.buffer.shrink_to(SPARE);
        self.length = end;
        Ok((offset, length))
    }
}

fn parse(header: &[u8; HEADER]) -> (Digest, u32) {
    let mut digest = [0; DIGEST];
    digest.copy_from_slice(&header[..DIGEST]);
    let mut length = [0; 4];
    length.copy_from_slice(&header[DIGEST..]);
    (Digest(digest), u32::from_be_bytes(length))
}
