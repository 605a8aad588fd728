//! How one entry's app is rendered, and with which options.

use super::raw::{RawHelm, RawKustomize, RawRenderer};
use super::source::Located;
use super::{Check, ListReason};
use crate::environment::{AppSource, HelmOptions, KustomizeOptions, Parameter, Renderer, RepoPath};

/// What an entry says of it.
pub(super) struct Written {
    pub(super) renderer: Option<RawRenderer>,
    pub(super) helm: Option<RawHelm>,
    pub(super) kustomize: Option<RawKustomize>,
}

impl Check<'_> {
    /// Returns how an app is rendered whose files are in this place.
    pub(super) fn renderer(&mut self, written: Written, located: &Located, at: &str) -> Option<Renderer> {
        let Written { renderer: chosen, helm, kustomize } = written;
        let implied = match (&helm, &kustomize) {
            (Some(_), Some(_)) => {
                self.report(
                    ListReason::InvalidAppList,
                    at,
                    "an app has options for helm or for kustomize, not for both".to_owned(),
                );
                return None;
            }
            (Some(_), None) => Some((RawRenderer::Helm, "helm")),
            (None, Some(_)) => Some((RawRenderer::Kustomize, "kustomize")),
            (None, None) => None,
        };
        if let (Some(chosen), Some((implied, key))) = (chosen, implied)
            && chosen != implied
        {
            self.report(
                ListReason::InvalidAppList,
                &format!("{at}/{key}"),
                format!("{key} options need renderer: {key}"),
            );
            return None;
        }
        let renderer = match implied.map(|(implied, _)| implied).or(chosen).unwrap_or(RawRenderer::Auto) {
            RawRenderer::Auto => Renderer::Auto,
            RawRenderer::Plain => Renderer::Plain,
            RawRenderer::Kustomize => Renderer::Kustomize(KustomizeOptions::default()),
            RawRenderer::Helm => match helm {
                Some(helm) => Renderer::Helm(self.helm(helm, located, at)?),
                None => Renderer::Helm(HelmOptions::default()),
            },
        };
        self.fitting(renderer, &located.source, at)
    }

    /// Makes sure that a chart of a chart repository is rendered as one.
    fn fitting(&mut self, renderer: Renderer, source: &AppSource, at: &str) -> Option<Renderer> {
        match (source, renderer) {
            (AppSource::Chart(_), Renderer::Auto) => Some(Renderer::Helm(HelmOptions::default())),
            (AppSource::Chart(_), Renderer::Plain | Renderer::Kustomize(_)) => {
                let message = "a chart is rendered by helm: leave out renderer and kustomize".to_owned();
                self.report(ListReason::InvalidAppList, at, message);
                None
            }
            (_, renderer) => Some(renderer),
        }
    }

    fn helm(&mut self, raw: RawHelm, located: &Located, at: &str) -> Option<HelmOptions> {
        let RawHelm { release_name, value_files, environment_value_files, values, parameters, skip_crds } =
            raw;
        let value_files = self.files(&value_files, &located.base, &format!("{at}/helm/valueFiles"));
        let folder = self.setting.folder;
        let of_environment =
            self.files(&environment_value_files, folder, &format!("{at}/helm/environmentValueFiles"));
        let (mut value_files, mut environment_value_files) = (value_files?, of_environment?);
        if !matches!(located.source, AppSource::Git(_)) {
            // The app's files, or those of its values, are in the environment's repository as it is.
            value_files.append(&mut environment_value_files);
        }
        if let Some(name) = release_name.as_deref().filter(|name| !is_release_name(name)) {
            let message = format!(
                "{name:?} is no release name: at most 53 lower-case letters, digits, '-' and '.', with a letter or digit at both ends"
            );
            self.report(ListReason::InvalidAppList, &format!("{at}/helm/releaseName"), message);
            return None;
        }
        let parameters = parameters
            .into_iter()
            .map(|raw| Parameter { name: raw.name, value: raw.value, force_string: raw.force_string })
            .collect();
        Some(HelmOptions {
            release_name,
            value_files,
            environment_value_files,
            values,
            parameters,
            skip_crds,
        })
    }

    /// Returns the paths of a list of files, which begin at `from`.
    fn files(&mut self, files: &[String], from: &RepoPath, pointer: &str) -> Option<Vec<RepoPath>> {
        let numbered = files.iter().enumerate();
        let checked: Vec<_> =
            numbered.map(|(index, file)| self.path(&format!("{pointer}/{index}"), from, file)).collect();
        checked.into_iter().collect()
    }
}

/// Whether Helm takes a text as the name of a release.
fn is_release_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = text.bytes().next().is_some_and(plain) && text.bytes().next_back().is_some_and(plain);
    text.len() <= 53 && ends && text.bytes().all(|byte| plain(byte) || matches!(byte, b'-' | b'.'))
}
