//! The file of Neutron is read as oslo.config reads it. What its release 10.7 gives for each of these texts was
//! observed.

use typha_tls::config::Sources;
use typha_tls_etcd::EtcdConfig;

use crate::parameters::{Files, shown};

fn neutron(text: &str) -> String {
    let files = Files::new();
    let path = files.write("neutron.conf", &files.expand(text));
    shown(EtcdConfig::neutron(path, &Sources::none()), &files)
}

/// The last values of the options of `[calico]`, in lines that follow others.
#[test]
fn values() {
    for (text, user, password) in [
        ("[calico]\netcd_password = old\netcd_password = new\n", "U", "new"),
        ("[other]\netcd_password = a\n[calico]\netcd_username = b\n", "b", "P"),
        ("[CALICO]\netcd_password = a\n[Calico]\netcd_username = b", "b", "a"),
        ("[calico]\nETCD_PASSWORD = a\n!etcd_password = b\n[ calico ]\netcd_username = c\n", "U", "P"),
        ("[calico]\netcd_password : a=b\netcd_username=a:b\n", "a:b", "a=b"),
        ("[calico]\netcd_password = a ; b\netcd_username = a # b\n", "a # b", "a ; b"),
        ("# a\n; b\n\n[calico]\n#etcd_username = a\n;etcd_password = b\n", "U", "P"),
        ("[calico]\netcd_password = \"a#b'\netcd_username = 'a b'\n", "a b", "\"a#b'"),
        ("[calico]\netcd_password = \"a b\" x\netcd_username = \"a\"b\"\n", "a\"b", "\"a b\" x"),
        ("[calico]\netcd_password = \" a \"\n", "U", " a "),
        ("[calico]\netcd_password = a\n  b\n\tc  \netcd_username =\n  d\n", "\nd", "a\nb\nc"),
        ("[calico]\r\netcd_password = a\r\n  b\r\n\r\netcd_username = c\r", "c", "a\nb"),
        ("[calico]\netcd_password = a\\tb%c\netcd_username = a$$b\\$c$1$\n", "a$b$c$1$", "a\\tb%c"),
        ("[calico]\netcd_password = $$name\netcd_username = $$$$\n", "$$", "$name"),
    ] {
        let base = "[calico]\netcd_ca_cert_file = DIR/ca\netcd_username = U\netcd_password = P\n";
        let outcome = format!("https://127.0.0.1:2379 ca=DIR/ca user={user} password={password}");
        assert_eq!(neutron(&format!("{base}{text}")), outcome, "{text:?}");
    }
}

/// The last value counts, even if it is empty. A lone quote is empty, too.
#[test]
fn an_empty_value() {
    let base = "[calico]\netcd_ca_cert_file = DIR/ca\netcd_host = a\netcd_username = u\netcd_password = p\n";
    for last in ["", "''", "\""] {
        let text = format!("{base}etcd_username = {last}\netcd_password = {last}\n");
        assert_eq!(neutron(&text), "https://a:2379 ca=DIR/ca", "{last}");
    }
    assert_eq!(
        neutron(&format!("{base}etcd_port =\n")),
        "value: etcd_host (from file DIR/neutron.conf) has the value \"https://a:\": it has no port; write \
         https://HOST:PORT, where etcd's port is usually 2379"
    );
}

#[test]
fn a_line_that_is_wrong_has_its_number_and_is_not_shown() {
    let section = "a section is a name in brackets, on a line of its own";
    let indented = "it is indented, but there is no option in front of it to continue";
    for (text, number, problem) in [
        ("[calico]\njunk\n", 2, "it is not `name = value`"),
        ("\u{feff}[calico]\n", 1, "it is not `name = value`"),
        ("[calico]\r\na = b\r\n= c\r\n", 3, "there is no name in front of the value"),
        ("a = b\n[calico]\n", 1, "there is no section in front of it"),
        ("[calico] # a\n", 1, section),
        ("[other]\n[]\n", 2, section),
        ("[calico]\n  a = b\n", 2, indented),
        ("[calico]\na = b\n\n  c\n", 4, indented),
        ("[calico]\na = b\n# c\n  d\n", 4, indented),
    ] {
        let outcome = format!("file: DIR/neutron.conf: it is not an INI file: line {number}: {problem}");
        assert_eq!(neutron(text), outcome, "{text:?}");
    }
}

#[test]
fn a_reference_is_an_error() {
    for value in ["a$name", "${name}b", "$_", "$X", "$$$a"] {
        assert_eq!(
            neutron(&format!("[calico]\netcd_password = {value}\n")),
            "file: DIR/neutron.conf: etcd_password in the section [calico]: it refers to another option by `$`; write \
             the value itself, and `$$` for each `$`",
            "{value}"
        );
    }
}
