//! Secrets by their names: as they are now, and why not.

use std::time::Duration;

use serde_json::json;
use skiff::cluster::Connection;
use skiff::cluster::connection::KubeconfigChoice;
use skiff::cluster::secrets::Secrets;
use skiff::git::{NamedSecretError, NamedSecrets};
use skiff_harness::identity::Identity;

use super::{World, shared};

#[tokio::test]
async fn a_secret_is_read_as_it_is_now() {
    let world = World::new("secrets").await;
    let secrets = Secrets::new(world.connection.clone(), "secrets");
    let missing = NamedSecretError::NotFound { name: "secrets/shop-git".to_owned() };
    assert_eq!(secrets.read("shop-git").await.err(), Some(missing));
    for password in ["s3cret", "another"] {
        world
            .apply(json!({
                "apiVersion": "v1", "kind": "Secret",
                "metadata": {
                    "name": "shop-git", "namespace": "secrets",
                    "labels": {"skiff.dev/instance": super::INSTANCE, "skiff.dev/app": "shop"},
                },
                "stringData": {"password": password},
            }))
            .await;
        let read = secrets.read("shop-git").await.expect("it is there");
        assert_eq!(read.data["password"], password.as_bytes());
        assert!(!format!("{read:?}").contains(password));
    }
}

#[tokio::test]
async fn a_missing_right_is_told_with_the_rule_that_gives_it() {
    let cluster = shared().await;
    let world = World::on(cluster.clone(), "secrets-closed").await;
    let lifetime = Duration::from_secs(600);
    let nobody = Identity::of(&cluster, "kube-system", "default", lifetime).await.expect("a token");
    let choice =
        KubeconfigChoice { path: Some(nobody.kubeconfig().to_owned()), ..KubeconfigChoice::default() };
    let connection = Connection::kubeconfig(choice).await.expect("the kubeconfig is right");
    let refused = Secrets::new(connection, &world.namespace).read("shop-git").await.err();
    assert_eq!(refused, Some(NamedSecretError::Forbidden { name: "secrets-closed/shop-git".to_owned() }));
}
