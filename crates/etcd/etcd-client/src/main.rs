//! Puts a key into etcd, by Felix's parameters.

use etcd_client::{Channel, Client};
use typha_tls::config::Sources;
use typha_tls_etcd::EtcdConfig;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let etcd = EtcdConfig::felix(&Sources::felix())?.connector()?; // FELIX_ETCDENDPOINTS, FELIX_ETCDCAFILE, ...
    let mut client = Client::from_channel(Channel::Tonic(etcd.channel()), None).await?;
    client.put("/calico/ready", "true", None).await?;
    Ok(())
}
