//! Approval: whose word lets a plan go.
//!
//! A word is about one plan, which its digest names, and lets nothing else go. It stands in the `spec` of the App, or
//! in the name of a signed tag in Git; who may sign such tags stands in the agent's file. Tags stay when their plan is
//! done, and the same plan may come again: a tag that is older than the app's last sync is a word on that one.

use jiff::Timestamp;

use crate::object::Digest;
use crate::sync::event::Ask;

/// What the names of all approval tags begin with, below `refs/tags/`.
const FAMILY: &str = "skiff/approve/";

/// A tag in Git that is called as approvals are, as it was last seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApprovalTag {
    /// Below `refs/tags/`.
    pub name: String,
    pub app: String,
    /// The plan that it names.
    pub plan: Digest,
    /// Id of what the name stands for: another one if the tag was moved.
    pub object: String,
    pub word: Word,
}

/// What an approval tag is worth.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Word {
    /// Nobody waits for it, so it was not read.
    Unread,
    /// Signed by somebody who may approve.
    Good { by: String, made_at: Timestamp },
    /// It approves nothing.
    Bad(Worthless),
}

/// Why a tag approves nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Worthless {
    /// One word, for conditions and events.
    pub reason: &'static str,
    pub message: String,
}

/// What may approve a plan of an app.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a> {
    pub ask: &'a Ask,
    pub tags: &'a [ApprovalTag],
    /// When the app's last sync was applied; a tag of before was made for that one or an older one.
    pub synced_at: Option<Timestamp>,
}

/// Returns what the names of the approval tags for one agent begin with, below `refs/tags/`.
pub fn prefix(instance: &str) -> String {
    format!("{FAMILY}{instance}/")
}

/// Returns the name of the tag that approves an app's plan.
pub fn tag_name(instance: &str, app: &str, plan: Digest) -> String {
    format!("{}{app}/{plan}", prefix(instance))
}

/// Returns the app and the plan of a tag that is called as an agent's approvals are. Where tags cannot be moved, a
/// second word on a plan has its digest with `-` and any ending.
pub fn read_name<'a>(instance: &str, name: &'a str) -> Option<(&'a str, Digest)> {
    let (app, plan) = name.strip_prefix(&prefix(instance))?.split_once('/')?;
    let digest = plan.split_once('-').map_or(plan, |(digest, _)| digest);
    Some((app, digest.parse().ok()?))
}

impl Words<'_> {
    /// Returns whose word is in force on a plan.
    pub fn on(&self, plan: Digest) -> Option<String> {
        let asked = self.ask.approval.as_ref().filter(|approval| approval.digest == plan);
        asked.map(|approval| approval.by.clone()).or_else(|| {
            let of_plan = self.tags.iter().filter(|tag| tag.plan == plan);
            of_plan.filter(|tag| !self.is_spent(tag)).find_map(ApprovalTag::says)
        })
    }

    /// Returns whose word a plan had when it began.
    pub fn began_with(&self, plan: Digest) -> Option<String> {
        Words { synced_at: None, ..*self }.on(plan)
    }

    /// Says why a tag that is there does not approve the plan that waits. `known` are names of tags that have had their
    /// time.
    pub fn worthless(&self, plan: Digest, known: impl Fn(&str) -> bool) -> Option<Worthless> {
        let of_plan = || self.tags.iter().filter(|tag| tag.plan == plan);
        let bad = of_plan().find_map(|tag| match &tag.word {
            Word::Bad(why) => Some(why.clone()),
            Word::Good { .. } | Word::Unread => None,
        });
        let spent = of_plan().find(|tag| self.is_spent(tag)).map(|tag| Worthless {
            reason: "TagOutdated",
            message: format!(
                "tag {:?} is older than the app's last sync: if this plan is meant too, make the tag anew, or one with \"-2\" after its name",
                tag.name
            ),
        });
        let others = self.tags.iter().filter(|tag| tag.plan != plan && !known(&tag.name));
        let outdated = others.last().map(|tag| Worthless {
            reason: "TagOutdated",
            message: format!("tag {:?} approves another plan than the one that waits, {plan}", tag.name),
        });
        bad.or(spent).or(outdated)
    }

    fn is_spent(&self, tag: &ApprovalTag) -> bool {
        matches!(&tag.word, Word::Good { made_at, .. } if self.synced_at.is_some_and(|synced| *made_at < synced))
    }
}

impl ApprovalTag {
    /// Returns who says so by it.
    fn says(&self) -> Option<String> {
        match &self.word {
            Word::Good { by, .. } => Some(format!("{by} by tag {}", self.name)),
            Word::Unread | Word::Bad(_) => None,
        }
    }

    /// Whether somebody who may approve has signed it.
    pub fn is_good(&self) -> bool {
        matches!(self.word, Word::Good { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::event::Approval;

    fn digest(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn tag(plan: &str, word: Word) -> ApprovalTag {
        let name = tag_name("eu-1", "shop", digest(plan));
        ApprovalTag { name, app: "shop".into(), plan: digest(plan), object: "1".into(), word }
    }

    fn good(made_at: i64) -> Word {
        Word::Good { by: "ada@example".into(), made_at: at(made_at) }
    }

    #[test]
    fn a_tag_names_agent_app_and_plan() {
        let name = tag_name("eu-1", "shop", digest("p"));
        assert_eq!(name, format!("skiff/approve/eu-1/shop/{}", digest("p")));
        assert_eq!(read_name("eu-1", &name), Some(("shop", digest("p"))));
        assert_eq!(read_name("eu-1", &format!("{name}-2")), Some(("shop", digest("p"))));
        for other in [
            format!("{name}2"),
            name.replace("eu-1", "eu-2"),
            name.replace("/shop/", "/"),
            "skiff/approve/eu-1/shop/".to_owned(),
            "v1".to_owned(),
        ] {
            assert_eq!(read_name("eu-1", &other), None, "{other}");
        }
    }

    #[test]
    fn a_good_tag_approves_its_plan_and_no_other() {
        let ask = Ask::default();
        let tags = [tag("mine", good(20))];
        let words = Words { ask: &ask, tags: &tags, synced_at: Some(at(10)) };
        let by = format!("ada@example by tag {}", tags[0].name);
        assert_eq!(words.on(digest("mine")), Some(by));
        assert_eq!(words.on(digest("other")), None);
        let why = words.worthless(digest("other"), |_| false).expect("it says so");
        assert_eq!(why.reason, "TagOutdated");
        assert!(
            why.message.ends_with(&format!("than the one that waits, {}", digest("other"))),
            "{}",
            why.message
        );
        assert_eq!(words.worthless(digest("other"), |_| true), None, "it was there before");
    }

    #[test]
    fn a_tag_of_before_the_last_sync_has_had_its_time() {
        let ask = Ask::default();
        let tags = [tag("mine", good(20))];
        let words = Words { ask: &ask, tags: &tags, synced_at: Some(at(30)) };
        assert_eq!(words.on(digest("mine")), None);
        assert_eq!(words.worthless(digest("mine"), |_| false).map(|why| why.reason), Some("TagOutdated"));
        assert!(words.began_with(digest("mine")).is_some(), "what began with it goes on");
    }

    #[test]
    fn a_bad_tag_says_why_and_hides_no_good_word() {
        let bad = Word::Bad(Worthless { reason: "Unsigned", message: "tag is not signed".into() });
        let (ask, tags) = (Ask::default(), [tag("mine", bad.clone()), tag("mine", Word::Unread)]);
        let words = Words { ask: &ask, tags: &tags, synced_at: None };
        assert_eq!(words.on(digest("mine")), None);
        assert_eq!(words.worthless(digest("mine"), |_| false).map(|why| why.reason), Some("Unsigned"));
        let tags = [tag("mine", bad.clone()), tag("mine", good(1))];
        assert!(Words { tags: &tags, ..words }.on(digest("mine")).is_some());
        let ask =
            Ask { approval: Some(Approval { digest: digest("mine"), by: "ops".into() }), ..Ask::default() };
        let tags = [tag("mine", bad)];
        assert_eq!(Words { ask: &ask, tags: &tags, ..words }.on(digest("mine")).as_deref(), Some("ops"));
    }
}
