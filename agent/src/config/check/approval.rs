//! Checks who may approve plans by tags.

use super::Check;
use crate::config::EnvironmentConfig;
use crate::config::raw::{RawApproval, RawSigners};
use crate::git::{Approvals, SignaturePolicy, Signed};

impl Check<'_> {
    /// Reads whose tags approve plans; the agent that they are for is known when the whole file is read.
    pub(super) fn approvals(&mut self, raw: &RawApproval, at: &str) -> Option<Approvals> {
        let RawSigners { allowed_signers_file, public_keys_file, secret_ref } = raw.tags.as_ref()?;
        let at = format!("{at}/tags");
        self.secret_name(secret_ref.as_deref(), &at);
        if allowed_signers_file.is_none() && public_keys_file.is_none() && secret_ref.is_none() {
            self.report(
                &at,
                "tags needs allowedSignersFile, publicKeysFile or secretRef: who may approve".to_owned(),
            );
        }
        let signers = SignaturePolicy {
            signed: Signed::Tag,
            allowed_signers: allowed_signers_file.clone(),
            public_keys: public_keys_file.clone(),
            secret: secret_ref.clone(),
        };
        Some(Approvals { instance: String::new(), signers })
    }

    /// Notes which agent the tags are for, whose name is a part of theirs.
    pub(super) fn approvals_for(&mut self, instance: &str, environments: &mut [EnvironmentConfig]) {
        let by_tag = environments.iter_mut().filter_map(|environment| environment.approvals.as_mut());
        let mut any = false;
        for approvals in by_tag {
            instance.clone_into(&mut approvals.instance);
            any = true;
        }
        if any && (instance.contains("..") || instance.ends_with(".lock")) {
            self.report(
                "/agent/instance",
                format!("instance {instance:?} cannot be part of a tag's name, and sync.approval.tags needs it to be"),
            );
        }
    }
}
