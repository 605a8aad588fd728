//! Checks what one transfer from a repository may take.

use std::time::Duration;

use super::Check;
use crate::config::raw::{RawFetch, RawTransfer};
use crate::config::units::Bytes;
use crate::git::Limits;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const MEBIBYTE: u64 = 1 << 20;
const GIBIBYTE: u64 = 1 << 30;

impl Check<'_> {
    pub(super) fn fetch(&mut self, raw: RawFetch) -> Limits {
        let RawFetch { timeout, limits: RawTransfer { transfer, file } } = raw;
        let default = Limits::default();
        let deadline = timeout.map_or(default.deadline, |span| span.0);
        // A transfer that takes longer would keep the repository's next poll waiting, and with it every app.
        if !(SECOND..=HOUR).contains(&deadline) {
            self.report("/fetch/timeout", "timeout must be at least 1s and at most 1h".to_owned());
        }
        // A file is held in memory as a whole while it is unpacked.
        let transfer = self.bytes(transfer, default.transfer, "transfer", 16);
        let file = self.bytes(file, default.file, "file", 2);
        Limits { deadline, transfer, file }
    }

    /// Returns a limit of at least a mebibyte and at most so many gibibytes.
    fn bytes(&mut self, written: Option<Bytes>, default: u64, key: &str, gibibytes: u64) -> u64 {
        let Bytes(bytes) = written.unwrap_or(Bytes(default));
        if !(MEBIBYTE..=gibibytes * GIBIBYTE).contains(&bytes) {
            let message = format!("{key} must be at least 1Mi and at most {gibibytes}Gi");
            self.report(&format!("/fetch/limits/{key}"), message);
        }
        bytes
    }
}
