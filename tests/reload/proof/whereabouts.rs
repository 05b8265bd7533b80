//! What Typha says of the connection that comes from an address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;

/// Tells those who connect what Typha has decided of them. Clones are the same.
pub(crate) struct Whereabouts<T>(Arc<Mutex<HashMap<SocketAddr, oneshot::Sender<T>>>>);

impl<T> Whereabouts<T> {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    /// Connects, and returns where the decision will come. Typha decides nothing before the first byte is sent.
    pub(crate) async fn connect(&self, typha: SocketAddr) -> (TcpStream, oneshot::Receiver<T>) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((fresh_address(), 0).into()).unwrap();
        let tcp = socket.connect(typha).await.unwrap();
        let (sender, decision) = oneshot::channel();
        self.0.lock().unwrap().insert(tcp.local_addr().unwrap(), sender);
        (tcp, decision)
    }

    pub(crate) fn decided(&self, peer: SocketAddr, decision: T) {
        let sender = self.0.lock().unwrap().remove(&peer).expect("nobody has connected from there");
        assert!(sender.send(decision).is_ok(), "it has given up");
    }
}

impl<T> Clone for Whereabouts<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// One of this machine's that was not used yet: who fails again and again from one address is slowed down.
fn fresh_address() -> IpAddr {
    static USED: AtomicU32 = AtomicU32::new(0);
    let [_, a, b, c] = USED.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    Ipv4Addr::new(127, 1 + a % 0x7f, b, c).into()
}
