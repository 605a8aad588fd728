#[tokio::main]
async fn main() {
    let c = skiff_harness::cluster::Cluster::start(Default::default()).await.unwrap();
    println!("{}", c.kubeconfig(skiff_harness::cluster::User::Admin).display());
    while !std::path::Path::new("/tmp/stop-hold").exists() {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
}
