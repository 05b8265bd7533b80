//! Connections that are held idle.

use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::Failure;
use super::ends::FelixEnd;
use super::felix::{Load, bounded, dial, open, parse_address, text};
use crate::protocol::Held;

/// Handshakes that are under way at once.
const AT_ONCE: usize = 32;

impl<F: FelixEnd> Load<F> {
    pub(super) async fn hold(&mut self, address: &str, connections: usize) -> Result<Held, Failure> {
        let address = parse_address(address)?;
        let (mut failed, mut first_failure) = (0, None);
        self.held.reserve(connections);
        let mut opening = JoinSet::new();
        for started in 0..connections + AT_ONCE {
            if started < connections {
                opening.spawn(held(self.felix.clone(), address));
            }
            // Begins to wait when as many are under way as may be.
            if started + 1 < AT_ONCE {
                continue;
            }
            match opening.join_next().await {
                Some(Ok(Ok(stream))) => self.held.push(stream),
                Some(Ok(Err(failure))) => {
                    failed += 1;
                    first_failure.get_or_insert_with(|| text(&failure));
                }
                Some(Err(died)) => return Err(died.into()),
                None => break,
            }
        }
        Ok(Held { held: self.held.len(), failed, first_failure })
    }

    /// Closes what is held.
    pub(super) fn release(&mut self) -> Held {
        drop(mem::take(&mut self.held));
        Held { held: 0, failed: 0, first_failure: None }
    }
}

async fn held<F: FelixEnd>(felix: Arc<F>, address: SocketAddr) -> Result<F::Stream<TcpStream>, Failure> {
    let opening = async {
        let (tcp, _) = dial(address).await?;
        open(&*felix, tcp, false).await
    };
    Ok(bounded(opening).await?.stream)
}
