//! The address that the listener listens on, and the options of its sockets.

use std::io::ErrorKind;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use typha_tls::TyphaListener;
use typha_tls::config::{SetupError, Sources, TyphaConfig};
use typha_tls::listener::ListenerLimits;

use super::rig::*;

#[tokio::test]
async fn all_addresses_are_those_of_both_families() {
    let mut listener = builder(limits()).bind("[::]:0").await.unwrap();
    let port = listener.local_addr().port();
    for host in ["127.0.0.1", "::1"] {
        let tcp = TcpStream::connect((host, port)).await.unwrap();
        let (typha, felix) = tokio::join!(bounded(listener.accept()), bounded(connector().connect_tcp(tcp)));
        felix.unwrap();
        // An IPv4 address is shown as one.
        assert_eq!(typha.unwrap().peer_address().ip().to_string(), host);
    }
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let taken = listen(limits()).await;
    let error = builder(limits()).bind(taken.local_addr()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().starts_with(&format!("can not listen on {}: ", taken.local_addr())), "{error}");
}

#[tokio::test]
async fn the_first_address_that_can_be_used_is_used() {
    let taken = listen(limits()).await;
    let addresses = [taken.local_addr(), "127.0.0.1:0".parse().unwrap()];
    let listener = builder(limits()).bind(&addresses[..]).await.unwrap();
    assert_ne!(listener.local_addr(), taken.local_addr());
}

#[tokio::test]
async fn a_socket_can_be_inherited() {
    let bound = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = bound.local_addr().unwrap();
    let mut listener = builder(limits()).listen_on(bound).unwrap();
    assert_eq!(listener.local_addr(), address);
    pair(&mut listener).await;
}

#[tokio::test]
async fn a_restart_does_not_wait_for_the_old_connections() {
    let mut listener = listen(limits()).await;
    let address = listener.local_addr();
    let (typha, felix) = pair(&mut listener).await;
    // Typha closes first, so that the connection lingers at its end.
    let goodbye = tokio::spawn(typha.close());
    drop(felix);
    let _ = bounded(goodbye).await.unwrap();
    bounded(listener.handle().shutdown()).await;
    builder(limits()).bind(address).await.unwrap();
}

/// The options are set on the listening socket, and must be those of the connections.
#[tokio::test]
async fn connections_have_no_delay_and_keep_alive() {
    let acceptor = acceptor().with_keepalive(Some(Duration::from_secs(77)));
    let mut listener = TyphaListener::builder(acceptor).bind("127.0.0.1:0").await.unwrap();
    let (typha, _felix) = pair(&mut listener).await;
    let socket = SockRef::from(&**typha.get_ref());
    assert!(socket.tcp_nodelay().unwrap());
    assert!(socket.keepalive().unwrap());
    assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(77));
    assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(77));
}

#[test]
fn parameters_become_limits() {
    let config = TyphaConfig::load(
        &Sources::none()
            .with_value("MaxConnectionsUpperLimit", "7")
            .with_value("MaxConnectionsLowerLimit", "3")
            .with_value("ConnectionDropIntervalSecs", "2")
            .with_value("ShutdownTimeoutSecs", "60")
            .with_value("ShutdownConnectionDropIntervalMaxSecs", "4"),
    )
    .unwrap();
    let limits = config.limits();
    assert_eq!((limits.connections, limits.connections_lower), (7, 3));
    let seconds = [limits.drop_interval, limits.shutdown_timeout, limits.shutdown_drop_interval_max];
    assert_eq!(seconds.map(|duration| duration.as_secs()), [2, 60, 4]);
    assert_eq!(limits.handshakes, ListenerLimits::default().handshakes);
    let defaults = TyphaConfig::default();
    assert_eq!(defaults.limits(), ListenerLimits::default());
    assert!(matches!(defaults.listener(), Err(SetupError::TlsNotConfigured { .. })));
    let listen: SocketAddr = (Ipv6Addr::UNSPECIFIED, 5473).into();
    assert_eq!(defaults.listen_address(), (listen.ip().to_string().as_str(), listen.port()));
}
