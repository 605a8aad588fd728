//! What a commit or a tag has to show: its signature, what that covers, and when it says to have been made.

use gix::bstr::{BString, ByteSlice};
use gix::hash::Kind;
use gix::objs::{CommitRefIter, TagRef, TagRefIter};
use jiff::Timestamp;

/// A signature with what it covers.
pub(super) struct Evidence {
    pub payload: BString,
    pub signature: BString,
    /// When the commit or tag says to have been made; the signature covers it.
    pub made_at: Timestamp,
}

impl Evidence {
    /// Reads a commit; nothing if it is not signed.
    pub(super) fn of_commit(data: &[u8], format: Kind) -> Result<Option<Self>, String> {
        let unreadable = |error: gix::Error| format!("the commit cannot be read: {error}");
        let Some((signature, payload)) = CommitRefIter::signature(data, format).map_err(unreadable)? else {
            return Ok(None);
        };
        let committer = CommitRefIter::from_bytes(data, format).committer().map_err(unreadable)?;
        let made_at = moment(committer.seconds())?;
        Ok(Some(Self { payload: payload.to_bstring(), signature: signature.into_owned(), made_at }))
    }

    /// Reads a tag's object, which has to call itself `name` and to be about the commit, if one is named; nothing if it
    /// is not signed.
    pub(super) fn of_tag(
        data: &[u8],
        format: Kind,
        name: &str,
        commit_id: Option<&str>,
    ) -> Result<Option<Self>, String> {
        let unreadable = |error: gix::Error| format!("the tag cannot be read: {error}");
        let tag = TagRef::from_bytes(data, format).map_err(unreadable)?;
        let Some((signature, payload)) = TagRefIter::signature(data) else { return Ok(None) };
        if tag.name != name {
            return Err(format!("it was made for a tag called {:?}", tag.name.to_str_lossy()));
        }
        let target = format!("{}:{}", tag.target().kind(), tag.target());
        if commit_id.is_some_and(|commit_id| commit_id != target) {
            return Err(format!("it was made for {target}"));
        }
        let tagger = tag.tagger().map_err(unreadable)?.ok_or("the tag does not say when it was made")?;
        let made_at = moment(tagger.seconds())?;
        Ok(Some(Self { payload: payload.to_bstring(), signature: signature.data.to_owned(), made_at }))
    }
}

fn moment(seconds: i64) -> Result<Timestamp, String> {
    Timestamp::from_second(seconds).map_err(|_| format!("{seconds} is no time"))
}
