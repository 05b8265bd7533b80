//! Which texts are the host of a server.

use std::net::IpAddr;

use typha_tls::ServerHost;
use typha_tls::identity::InvalidHost;

fn new(host: &str) -> Result<ServerHost, InvalidHost> {
    let parsed = host.parse();
    assert_eq!(ServerHost::new(host), parsed);
    parsed
}

#[test]
fn dns_names() {
    let longest = [&*"a".repeat(63), &*"b".repeat(63), &*"c".repeat(63), &*"d".repeat(61)].join(".");
    assert_eq!(longest.len(), 253);
    for (host, shown) in [
        ("etcd-1.example", "etcd-1.example"),
        ("ETCD-1.Example", "etcd-1.example"),
        ("etcd-1.example.", "etcd-1.example"),
        ("localhost", "localhost"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("_etcd.example", "_etcd.example"),
        ("my_etcd.example", "my_etcd.example"),
        ("1.etcd", "1.etcd"),
        ("10.0.0.1.nip.io", "10.0.0.1.nip.io"),
        (&longest, &longest),
    ] {
        let host = new(host).unwrap();
        assert_eq!((&*host.to_string(), host.ip_address()), (shown, None));
    }
    assert_eq!(new("etcd-1.example").unwrap(), new("ETCD-1.EXAMPLE.").unwrap());
    assert_eq!(format!("{:?}", new("ETCD-1.example.").unwrap()), "ServerHost(etcd-1.example)");
}

#[test]
fn ip_addresses() {
    for (host, shown) in [
        ("10.0.0.1", "10.0.0.1"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("[::ffff:c000:201]", "192.0.2.1"),
        // Not mapped, but an address of IPv6.
        ("::192.0.2.1", "::c000:201"),
    ] {
        let address: IpAddr = shown.parse().unwrap();
        let host = new(host).unwrap();
        assert_eq!((&*host.to_string(), host.ip_address()), (shown, Some(address)));
    }
}

#[test]
fn no_hosts() {
    let too_long = [&*"a".repeat(63), &*"b".repeat(63), &*"c".repeat(63), &*"d".repeat(62)].join(".");
    assert_eq!(too_long.len(), 254);
    let long_label = "a".repeat(64);
    for malformed in [
        // Something is attached.
        "etcd-1.example:2379",
        "127.0.0.1:2379",
        "[::1]:2379",
        "https://etcd-1.example",
        "etcd-1.example/",
        "root@etcd-1.example",
        "10.0.0.0/8",
        // Brackets are for IPv6 alone, and a pair.
        "[",
        "[]",
        "[::1",
        "::1]",
        "[[::1]]",
        "[127.0.0.1]",
        "[etcd-1.example]",
        // Neither an IPv4 address nor a name: the last label is a number.
        "1",
        "1.2.3",
        "1.2.3.4.5",
        "256.0.0.1",
        "10.0.0.1.",
        "010.0.0.1",
        "etcd.1",
        // Labels.
        ".",
        "..",
        ".example",
        "etcd..example",
        "etcd.example..",
        "-etcd.example",
        "etcd-.example",
        &long_label,
        &too_long,
        // Characters.
        "b\u{fc}cher.example",
        "b\u{fc}cher",
        "etcd\u{ff0e}example",
        " etcd",
        "etcd ",
        "etcd\n",
        "etcd\0.example",
        "\0",
        "::1%",
    ] {
        let problem = match malformed {
            "::1%" => InvalidHost::Zone(malformed.to_owned()),
            _ => InvalidHost::Malformed(malformed.to_owned()),
        };
        assert_eq!(new(malformed), Err(problem), "{malformed:?}");
    }
    assert_eq!(new(""), Err(InvalidHost::Empty));
    for wildcard in ["*", "*.", "*.example", "etcd.*.example", "etcd-*.example", "*.1"] {
        assert_eq!(new(wildcard), Err(InvalidHost::Wildcard(wildcard.to_owned())));
    }
    for (unspecified, address) in
        [("0.0.0.0", "0.0.0.0"), ("::", "::"), ("[::]", "::"), ("0::0", "::"), ("::ffff:0.0.0.0", "0.0.0.0")]
    {
        assert_eq!(new(unspecified), Err(InvalidHost::Unspecified(address.parse().unwrap())));
    }
    for zone in ["fe80::1%eth0", "[fe80::1%eth0]", "[fe80::1%25eth0]", "::%1"] {
        assert_eq!(new(zone), Err(InvalidHost::Zone(zone.to_owned())));
    }
}

#[test]
fn what_is_wrong_with_a_host() {
    for (host, text) in [
        ("", "the host of the server is empty; give a DNS name or an IP address"),
        ("*.example", "the host \"*.example\" is a wildcard; give the name of one server"),
        (
            "::",
            "the host :: is not the address of one server; give the name or the address that the certificate has",
        ),
        (
            "fe80::1%eth0",
            "the host \"fe80::1%eth0\" has an IPv6 zone, which no certificate has; give an address without a zone",
        ),
        (
            "b\u{fc}cher\n:1",
            "the host \"b\\u{fc}cher\\n:1\" is neither a DNS name nor an IP address; write a name outside \
             ASCII in its ASCII form (xn--...), and leave out the port",
        ),
    ] {
        assert_eq!(new(host).unwrap_err().to_string(), text);
    }
}
