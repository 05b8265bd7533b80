//! Puts a key into etcd, by Felix's parameters.

use etcd_client::{Channel, Client, ConnectOptions};
use typha_tls::config::Sources;
use typha_tls_etcd::EtcdConfig;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = EtcdConfig::felix(&Sources::felix())?; // FELIX_ETCDENDPOINTS, FELIX_ETCDCAFILE, ...
    let channel = Channel::Tonic(config.connector()?.channel());
    let user = config.user.map(|user| ConnectOptions::new().with_user(user.name(), user.password()));
    let mut client = Client::from_channel(channel, user).await?;
    client.put("/calico/ready", "true", None).await?;
    Ok(())
}
