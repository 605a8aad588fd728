//! Packs of bodies: what one stored render holds.
//!
//! A pack is a zstd stream of (length as 4 bytes, big endian; body) in the order of the digests. It is
//! named by the digest of the uncompressed stream, so that the same bodies are stored once.

use std::io::{Error, ErrorKind, Result};

use skiff_shared::desired::BodyDigest;
use skiff_shared::object::Digest;

use crate::store::Store;

/// Compressed bytes that one Secret is meant to hold at most; its own limit is 1 MiB.
pub(super) const LIMIT: usize = 512 * 1024;

/// Uncompressed bytes that are gathered before a pack is compressed.
const GATHER: usize = 4 * 1024 * 1024;

/// One pack, ready to be stored.
pub(super) struct Pack {
    pub digest: Digest,
    pub bytes: Vec<u8>,
}

/// Packs the bodies; the order of `digests` is kept.
pub(super) fn pack(digests: &[BodyDigest], store: &Store) -> Result<Vec<Pack>> {
    let mut packs = Vec::new();
    let mut gathered: Vec<Vec<u8>> = Vec::new();
    let mut size = 0;
    for digest in digests {
        let missing = || Error::new(ErrorKind::NotFound, format!("body {digest} is not on disk"));
        let body = store.get(*digest)?.ok_or_else(missing)?;
        size += body.len();
        gathered.push(body);
        if size >= GATHER {
            close(&gathered, &mut packs)?;
            gathered.clear();
            size = 0;
        }
    }
    if !gathered.is_empty() {
        close(&gathered, &mut packs)?;
    }
    Ok(packs)
}

/// Compresses bodies into a pack, or into two where one would be too large.
fn close(bodies: &[Vec<u8>], packs: &mut Vec<Pack>) -> Result<()> {
    let mut raw = Vec::with_capacity(bodies.iter().map(|body| body.len() + 4).sum());
    for body in bodies {
        let length = u32::try_from(body.len()).map_err(|_| Error::other("a body is larger than 4 GiB"))?;
        raw.extend_from_slice(&length.to_be_bytes());
        raw.extend_from_slice(body);
    }
    let bytes = zstd::encode_all(raw.as_slice(), super::ZSTD_LEVEL)?;
    if bytes.len() > LIMIT && bodies.len() > 1 {
        let (left, right) = bodies.split_at(bodies.len() / 2);
        close(left, packs)?;
        return close(right, packs);
    }
    packs.push(Pack { digest: Digest::of(&raw), bytes });
    Ok(())
}

/// Returns the bodies of a pack.
pub(super) fn unpack(bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
    let raw = zstd::decode_all(bytes)?;
    let mut bodies = Vec::new();
    let mut rest = raw.as_slice();
    while !rest.is_empty() {
        let (head, tail) = rest.split_at_checked(4).ok_or_else(torn)?;
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let (body, tail) = tail.split_at_checked(length).ok_or_else(torn)?;
        bodies.push(body.to_vec());
        rest = tail;
    }
    Ok(bodies)
}

fn torn() -> Error {
    Error::new(ErrorKind::InvalidData, "it ends in the middle of a body")
}
