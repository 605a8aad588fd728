//! What a server has listed a short while ago. One listing answers for all references of a repository that are read with
//! the same credentials: each poll also asks for those that were asked for shortly before.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Slot;
use crate::git::error::FetchError;
use crate::git::remote::{Listed, Means, NamedTag, Remote, Tip, tags_below};
use crate::git::source::Source;

/// How long a poll asks for what another one has wanted.
const REMEMBERED: Duration = Duration::from_secs(15 * 60);

/// The last listing, and who wants to know what of it.
#[derive(Debug, Default)]
pub(super) struct Listing {
    newest: Option<Newest>,
    /// The names that polls have wanted, and when they last did.
    wanted: BTreeMap<String, Instant>,
}

#[derive(Debug)]
struct Newest {
    listed: Listed,
    names: Vec<String>,
    asked: Instant,
}

/// A conversation that begins when somebody has something to say.
pub(super) struct Call<'a> {
    source: &'a Source,
    means: &'a Means,
    remote: Option<Remote>,
}

impl<'a> Call<'a> {
    pub(super) fn to(source: &'a Source, means: &'a Means) -> Self {
        Self { source, means, remote: None }
    }

    pub(super) fn source(&self) -> &'a Source {
        self.source
    }

    pub(super) fn remote(&mut self) -> Result<&mut Remote, FetchError> {
        let remote = match self.remote.take() {
            Some(remote) => remote,
            None => Remote::connect(self.source, self.means)?,
        };
        Ok(self.remote.insert(remote))
    }
}

impl Slot {
    /// Returns where the source's reference stands, and the tags whose names begin with `below`, now or as the server has
    /// listed them at `since` or later.
    pub(super) fn list(
        &self,
        call: &mut Call<'_>,
        below: Option<&str>,
        since: Instant,
    ) -> Result<(Tip, Vec<NamedTag>), FetchError> {
        let (source, asked) = (call.source, Instant::now());
        let mut names = source.reference.prefixes();
        names.extend(below.map(tags_below));
        let found = |listed: &Listed| {
            let tags = below.map(|below| listed.tags(below)).unwrap_or_default();
            Ok((listed.tip(source)?, tags))
        };
        let all = {
            let listing = &mut self.state().listing;
            listing.want(&names, asked);
            if let Some(listed) = listing.answer(&names, since) {
                return found(listed);
            }
            listing.all()
        };
        let listed = call.remote()?.list(&all)?;
        let found = found(&listed);
        self.state().listing.newest = Some(Newest { listed, names: all, asked });
        found
    }
}

impl Listing {
    /// Notes that somebody wants to know where these stand.
    fn want(&mut self, names: &[String], now: Instant) {
        self.wanted.retain(|_, at| now.duration_since(*at) < REMEMBERED);
        self.wanted.extend(names.iter().map(|name| (name.clone(), now)));
    }

    /// Returns the newest listing, if it was asked for at `since` or later and says of these where they stand.
    fn answer(&self, names: &[String], since: Instant) -> Option<&Listed> {
        let newest = self.newest.as_ref()?;
        let says_all = names.iter().all(|name| newest.names.contains(name));
        (newest.asked >= since && says_all).then_some(&newest.listed)
    }

    /// Returns what the next listing is of.
    fn all(&self) -> Vec<String> {
        self.wanted.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_listing_per_interval_answers_for_all_references() {
        let start = Instant::now();
        let mut listing = Listing::default();
        let mut poll = |name: &str, seconds: u64| {
            let (names, asked) = ([name.to_owned()], start + Duration::from_secs(seconds));
            listing.want(&names, asked);
            if listing.answer(&names, asked.checked_sub(Duration::from_secs(30)).unwrap()).is_some() {
                return "answered".to_owned();
            }
            let names = listing.all();
            let told = names.join(" ");
            listing.newest = Some(Newest { listed: Listed::default(), names, asked });
            told
        };
        assert_eq!(poll("main", 0), "main");
        assert_eq!(poll("main", 1), "answered");
        assert_eq!(poll("next", 2), "main next");
        for minute in 1..4 {
            assert_eq!(poll("main", minute * 60), "main next", "its next poll asks for both");
            assert_eq!(poll("next", minute * 60 + 2), "answered");
        }
        assert_eq!(poll("main", 2000), "main", "what nobody has wanted for long is not asked for");
    }
}
