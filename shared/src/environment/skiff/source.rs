//! Where the files of one entry's app are: a folder of this repository, a repository of their own, a chart.

use super::raw::{RawChart, RawSource, RawVerify};
use super::{Check, ListReason};
use crate::environment::{
    AppSource, ChartSource, ChartVersion, GitSource, RawRewrites, Reference, RepoPath, Rewrites, Signed,
    TrustError,
};

/// Where an app's files are.
pub(super) struct Located {
    pub(super) source: AppSource,
    /// The folder to render.
    pub(super) path: RepoPath,
    /// Where the paths of value files begin.
    pub(super) base: RepoPath,
}

impl Check<'_> {
    /// Says where an app's files are; `folder` is the one of this repository that it has without a source of its own.
    pub(super) fn located(
        &mut self,
        source: Option<RawSource>,
        chart: Option<RawChart>,
        folder: Option<RepoPath>,
        at: &str,
    ) -> Option<Located> {
        let key = match (&source, &chart) {
            (None, None) => {
                let path = folder?;
                return Some(Located { source: AppSource::Environment, base: path.clone(), path });
            }
            (Some(_), Some(_)) => {
                let message = "an app has a source or a chart, not both".to_owned();
                self.report(ListReason::InvalidAppList, at, message);
                return None;
            }
            (Some(_), None) => "source",
            (None, Some(_)) => "chart",
        };
        for (other, why) in [
            ("each", "its apps are folders of this repository"),
            ("path", if chart.is_some() { "a chart is taken as a whole" } else { "write it as source.path" }),
        ] {
            if self.is_written(&format!("{at}/{other}")) {
                let message = format!("{other} cannot stand beside {key}: {why}");
                self.report(ListReason::InvalidAppList, &format!("{at}/{other}"), message);
            }
        }
        match (source, chart) {
            (Some(source), _) => self.own_repository(source, &format!("{at}/source")),
            (None, Some(chart)) => self.own_chart(chart, &format!("{at}/chart")),
            (None, None) => None,
        }
    }

    fn own_repository(&mut self, raw: RawSource, at: &str) -> Option<Located> {
        let RawSource { url, reference, path, verify, refuse_rewrites, accepted_rewrite } = raw;
        let checked = GitSource::check_url(&url).map_err(|error| {
            self.report(ListReason::InvalidAppList, &format!("{at}/url"), error.to_string())
        });
        let reference = reference.check().map_err(|error| {
            let key = error.key().map(|key| format!("/{key}")).unwrap_or_default();
            self.report(ListReason::InvalidAppList, &format!("{at}/ref{key}"), error.to_string());
        });
        let verify = verify.map(|RawVerify { mode }| mode);
        let rewrites = RawRewrites { refuse: refuse_rewrites, accepted: accepted_rewrite }.check();
        let rewrites = rewrites.map_err(|error| self.distrust(error, at));
        let path = self.path(&format!("{at}/path"), &RepoPath::default(), &path)?;
        let (Ok(()), Ok(reference), Ok(rewrites)) = (checked, reference, rewrites) else { return None };
        self.trusted(&reference, verify, &rewrites, at)?;
        let source = AppSource::Git(GitSource { url, reference, verify, rewrites });
        Some(Located { source, base: path.clone(), path })
    }

    /// Makes sure that a revision of the reference can be what the app asks of it.
    fn trusted(
        &mut self,
        reference: &Reference,
        verify: Option<Signed>,
        rewrites: &Rewrites,
        at: &str,
    ) -> Option<()> {
        let signed = verify.map_or(Ok(()), |signed| signed.check(reference));
        let both = [signed, rewrites.check(reference)];
        both.iter().filter_map(|checked| checked.err()).for_each(|error| self.distrust(error, at));
        both.iter().all(Result::is_ok).then_some(())
    }

    fn distrust(&mut self, error: TrustError, at: &str) {
        self.report(ListReason::InvalidAppList, &format!("{at}/{}", error.key()), error.to_string());
    }

    fn own_chart(&mut self, raw: RawChart, at: &str) -> Option<Located> {
        let RawChart { repository, name, version } = raw;
        let mut wrong = |key: &str, message: String| {
            self.report(ListReason::InvalidAppList, &format!("{at}/{key}"), message);
        };
        let repository = ChartSource::check_repository(&repository)
            .map_err(|error| wrong("repository", error.to_string()));
        let version = ChartVersion::parse(&version).map_err(|error| wrong("version", error.to_string()));
        if !ChartSource::is_name(&name) {
            wrong("name", format!("{name:?} is no name of a chart: letters, digits, \"-\", \"_\" and \".\""));
            return None;
        }
        let (Ok(repository), Ok(version)) = (repository, version) else { return None };
        let path = self.path(&format!("{at}/name"), &RepoPath::default(), &name)?;
        let source = AppSource::Chart(ChartSource { repository, name, version });
        Some(Located { source, path, base: self.setting.folder.clone() })
    }
}
