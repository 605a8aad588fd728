//! The chart's values, of which most are the agent's configuration.

use std::path::Path;

use serde_json::{Value, json};
use skiff_shared::desired::Problem;

use crate::args::PlaceArgs;
use crate::commands::document;
use crate::git::RepositoryUrl;

/// What the chart is installed with.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Values(Value);

impl Values {
    /// Reads what a person keeps in a file.
    pub(super) fn read(path: &Path) -> Result<Self, Vec<Problem>> {
        let (_, document) = document::read(path)?;
        if !document.value.is_object() {
            let (place, message) = (path.display().to_string(), "it has to be a map".to_owned());
            return Err(vec![Problem { place, message }]);
        }
        Ok(Self(document.value))
    }

    /// Returns the values of one environment; one over SSH gets its credentials from a Secret of that name.
    pub(super) fn of(place: &PlaceArgs) -> Self {
        let text = |word: &Option<String>| word.clone().unwrap_or_default();
        let PlaceArgs { cluster_name, environment, url, path, branch } = place;
        let (cluster_name, environment, url) = (text(cluster_name), text(environment), text(url));
        let branch = branch.as_deref().unwrap_or("main");
        let mut source = json!({"url": url, "ref": {"branch": branch}, "path": text(path)});
        if url.parse::<RepositoryUrl>().is_ok_and(|url| url.ssh_server().is_some()) {
            source["credentials"] = json!({"secretRef": format!("{environment}-git")});
        }
        Self(json!({
            "cluster": {"name": cluster_name},
            "environments": [{"name": environment, "source": source}],
        }))
    }

    /// Takes an image, whose tag is what follows the last colon of its last part.
    pub(super) fn set_image(&mut self, image: &str) {
        let last = image.rfind('/').map_or(0, |at| at + 1);
        let (repository, tag) = match image[last..].rfind(':') {
            Some(at) => (&image[..last + at], &image[last + at + 1..]),
            None => (image, ""),
        };
        let known = &mut self.0["image"];
        if !known.is_object() {
            *known = json!({});
        }
        known["repository"] = repository.into();
        known["tag"] = tag.into();
    }

    pub(super) fn json(&self) -> &Value {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(url: &str) -> PlaceArgs {
        PlaceArgs {
            cluster_name: Some("eu-1".to_owned()),
            environment: Some("staging".to_owned()),
            url: Some(url.to_owned()),
            path: Some("clusters/eu-1".to_owned()),
            branch: None,
        }
    }

    #[test]
    fn an_environment_over_ssh_has_its_key_in_a_secret() {
        let source = |url| Values::of(&place(url)).0["environments"][0]["source"].clone();
        assert_eq!(source("git@git.example:shop.git")["credentials"], json!({"secretRef": "staging-git"}));
        assert_eq!(source("https://git.example/shop.git").get("credentials"), None);
    }

    #[test]
    fn an_image_is_taken_apart_at_its_tag() {
        for (image, repository, tag) in [
            ("registry.example:5000/skiff:0.1.0", "registry.example:5000/skiff", "0.1.0"),
            ("registry.example:5000/skiff", "registry.example:5000/skiff", ""),
            ("skiff:dev", "skiff", "dev"),
        ] {
            let mut values = Values(json!({"image": {"pullPolicy": "Always"}}));
            values.set_image(image);
            let expected = json!({"pullPolicy": "Always", "repository": repository, "tag": tag});
            assert_eq!(values.0["image"], expected, "{image}");
        }
    }
}
