//! Warns if other processes or the network can reach the side without TLS.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::plain::PlainAddress;

/// Warns if `address`, which resolves to `found`, has a loopback address that other local processes can reach.
pub(crate) fn warn_about_loopback(address: &PlainAddress, found: &[SocketAddr]) {
    if found.iter().any(|found| found.ip().to_canonical().is_loopback())
        && let Some(device) = network_device(Path::new("/sys/class/net"))
    {
        tracing::warn!(
            %address,
            device,
            "this process shares the loopback addresses of the whole machine: every local process can connect without \
             TLS; use a Unix socket, a network namespace, or a firewall rule for the user (docs/in-front-of-calico.md)"
        );
    }
}

/// How often to look at the port of the backend, at most.
const LOOK: Duration = Duration::from_secs(60);

/// Watches whether the port of a backend is open to the network.
#[derive(Default)]
pub(super) struct Exposure(Mutex<Looked>);

#[derive(Default)]
struct Looked {
    /// `None` if it was only looked at the start, when the backend may not have been there.
    last: Option<Instant>,
    is_open: bool,
}

impl Exposure {
    fn looked(&self) -> MutexGuard<'_, Looked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is time for a check. If so, it counts as done.
    pub(super) fn is_due(&self) -> bool {
        let mut looked = self.looked();
        let is_due = looked.last.is_none_or(|last| last.elapsed() >= LOOK);
        if is_due {
            looked.last = Some(Instant::now());
        }
        is_due
    }

    /// Warns if the port of the backend at these loopback addresses has become open to the network. Only Linux shows
    /// it.
    pub(super) fn check(&self, address: &PlainAddress, found: &[SocketAddr]) {
        let mut listeners = Vec::new();
        for (family, path) in [(4, "/proc/self/net/tcp"), (6, "/proc/self/net/tcp6")] {
            match std::fs::read_to_string(path) {
                Ok(table) => listeners.extend(listening(&table, family)),
                // This machine has no IPv6, or is not Linux.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => tracing::warn!(
                    backend = %address,
                    path,
                    %error,
                    "this file can not be read: the port of the backend may be open to the network; let the backend \
                     listen at a loopback address only"
                ),
            }
        }
        let open = listeners.iter().find(|open| found.iter().any(|found| is_open(open, found)));
        let was_open = std::mem::replace(&mut self.looked().is_open, open.is_some());
        if let Some(open) = open.filter(|_| !was_open) {
            tracing::warn!(
                backend = %address,
                %open,
                "the port of the backend is also open to the network: whoever reaches it needs no certificate; let the \
                 backend listen at a loopback address only (Typha: ServerHost = 127.0.0.1)"
            );
        }
    }
}

/// Whether a program that listens at `found` is the one at the loopback address `backend`, and the network reaches it.
fn is_open(found: &SocketAddr, backend: &SocketAddr) -> bool {
    let is_loopback = backend.ip().to_canonical().is_loopback();
    // A socket of IPv6 most often accepts IPv4, too.
    let is_same =
        found.port() == backend.port() && (found.is_ipv6() || backend.ip().to_canonical().is_ipv4());
    is_loopback && is_same && found.ip().is_unspecified()
}

/// The addresses at which programs listen, from the text of `/proc/self/net/tcp` or `tcp6`.
fn listening(table: &str, family: u8) -> impl Iterator<Item = SocketAddr> {
    const LISTEN: &str = "0A";
    table.lines().skip(1).filter_map(move |line| {
        let mut columns = line.split_whitespace().skip(1);
        let (local, state) = (columns.next()?, columns.nth(1)?);
        let (address, port) = local.split_once(':')?;
        // Each group of 32 bits has the byte order of the machine.
        let mut words = address.as_bytes().chunks(8).map(|word| {
            let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
            Some(word.to_ne_bytes())
        });
        let ip = match family {
            4 => IpAddr::V4(Ipv4Addr::from(words.next()??)),
            _ => {
                let mut bytes = [0; 16];
                for chunk in bytes.chunks_mut(4) {
                    chunk.copy_from_slice(&words.next()??);
                }
                IpAddr::V6(Ipv6Addr::from(bytes))
            }
        };
        (state == LISTEN).then_some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
    })
}

/// A network device of a machine. The network namespace of a pod has only virtual ones.
fn network_device(devices: &Path) -> Option<String> {
    let devices = std::fs::read_dir(devices).ok()?;
    devices.flatten().find(|device| device.path().join("device").exists())?.file_name().into_string().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_that_listen() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when\n\
                     \x20  0: 0100007F:1561 00000000:0000 0A 00000000:00000000 00:00000000\n\
                     \x20  1: 00000000:1562 00000000:0000 0A 00000000:00000000 00:00000000\n\
                     \x20  2: 00000000:1563 0100007F:1561 01 00000000:00000000 00:00000000\n";
        let table = match cfg!(target_endian = "little") {
            true => table.to_owned(),
            false => table.replace("0100007F", "7F000001"),
        };
        let found: Vec<_> = listening(&table, 4).map(|address| address.to_string()).collect();
        assert_eq!(found, ["127.0.0.1:5473", "0.0.0.0:5474"]);
        let table = "  sl  local_address                         remote_address                        st\n\
                     \x20  0: 00000000000000000000000000000000:1561 00000000000000000000000000000000:0000 0A\n\
                     \x20  1: 00000000000000000000000001000000:1562 00000000000000000000000000000000:0000 0A\n";
        let found: Vec<_> = listening(table, 6).map(|address| address.to_string()).collect();
        match cfg!(target_endian = "little") {
            true => assert_eq!(found, ["[::]:5473", "[::1]:5474"]),
            false => assert_eq!(found.len(), 2),
        }
    }

    #[test]
    fn who_is_the_backend() {
        for (found, backend, expected) in [
            ("0.0.0.0:5474", "127.0.0.1:5474", true),
            ("[::]:5474", "127.0.0.1:5474", true),
            ("[::]:5474", "[::1]:5474", true),
            ("[::]:5474", "[::ffff:127.0.0.1]:5474", true),
            ("0.0.0.0:5474", "[::1]:5474", false),
            ("0.0.0.0:5473", "127.0.0.1:5474", false),
            ("127.0.0.1:5474", "127.0.0.1:5474", false),
            // Another program, such as this one.
            ("192.0.2.1:5474", "127.0.0.1:5474", false),
            ("[::1]:5474", "127.0.0.1:5474", false),
            ("0.0.0.0:5474", "192.0.2.1:5474", false),
        ] {
            let [at, behind] = [found, backend].map(|address| address.parse().unwrap());
            assert_eq!(is_open(&at, &behind), expected, "{found} {backend}");
        }
    }

    #[test]
    fn devices_of_a_machine() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(network_device(dir.path()), None);
        std::fs::create_dir(dir.path().join("lo")).unwrap();
        std::fs::create_dir(dir.path().join("eth0")).unwrap();
        assert_eq!(network_device(dir.path()), None);
        std::fs::create_dir(dir.path().join("eth0").join("device")).unwrap();
        assert_eq!(network_device(dir.path()).as_deref(), Some("eth0"));
    }
}
