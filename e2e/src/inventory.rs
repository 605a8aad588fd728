//! What the agent recorded in the cluster, read back as a person with a debugger would.

use std::collections::BTreeSet;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use skiff_shared::inventory::{Record, Shard};
use skiff_shared::object::Interner;

use crate::site::{NAMESPACE, Site};

impl Site {
    /// Returns the objects that an app's inventory lists, as `Kind/namespace/name`, and fails if one of them is only
    /// claimed.
    pub async fn inventory(&self, app: &str) -> anyhow::Result<BTreeSet<String>> {
        let mut ids = BTreeSet::new();
        for (id, settled) in self.records(app).await? {
            anyhow::ensure!(settled, "{id} is only claimed");
            ids.insert(id);
        }
        Ok(ids)
    }

    /// Returns the objects that an app's inventory lists, as `Kind/namespace/name`, and whether each is on record as
    /// written.
    pub async fn records(&self, app: &str) -> anyhow::Result<Vec<(String, bool)>> {
        let shards = self.shards(app).await?;
        let rows = shards.into_iter().flat_map(|shard| shard.rows);
        Ok(rows.map(|row| (row.id.to_string(), row.record != Record::Claimed)).collect())
    }

    /// Returns the stored renders that an app's inventory names.
    pub async fn named_renders(&self, app: &str) -> anyhow::Result<BTreeSet<String>> {
        let shards = self.shards(app).await?;
        Ok(shards.into_iter().flat_map(|shard| shard.renders.into_iter().flatten()).collect())
    }

    async fn shards(&self, app: &str) -> anyhow::Result<Vec<Shard>> {
        let shards: Api<ConfigMap> = Api::namespaced(self.admin()?, NAMESPACE);
        let selector = format!("skiff.dev/state=inventory,skiff.dev/state-of={app}");
        let mut interner = Interner::default();
        let mut read = Vec::new();
        for stored in shards.list(&ListParams::default().labels(&selector)).await? {
            let packed = stored.binary_data.unwrap_or_default();
            let packed = packed.values().next().context("an inventory shard holds nothing")?;
            read.push(Shard::decode(&zstd::decode_all(packed.0.as_slice())?, &mut interner)?);
        }
        Ok(read)
    }

    /// Returns all objects of a core kind that carry the agent's label, as `Kind/namespace/name`.
    pub async fn labelled(&self, kind: &str) -> anyhow::Result<BTreeSet<String>> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", kind));
        let objects: Api<DynamicObject> = Api::all_with(self.admin()?, &resource);
        let listed = objects.list_metadata(&ListParams::default().labels("skiff.dev/instance=lab")).await?;
        let id = |metadata: kube::api::ObjectMeta| {
            let name = metadata.name.unwrap_or_default();
            match metadata.namespace {
                Some(namespace) => format!("{kind}/{namespace}/{name}"),
                None => format!("{kind}/{name}"),
            }
        };
        Ok(listed.items.into_iter().map(|object| id(object.metadata)).collect())
    }
}
