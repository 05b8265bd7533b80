//! Whether peers with the same CA file would still accept us.

use super::site::{Site, ca, detail, names};

#[test]
fn a_chain_of_a_ca_that_goes_is_a_warning() {
    let site = Site::new();
    site.own_chain(&site.old);
    let new = site.path("new.pem");
    let (code, lines) = site.check(&["--with-ca-file", &new]);
    let expected = [("info", "ca_removed"), ("info", "ca_added"), ("warning", "planned_own_chain")];
    assert_eq!((code, names(&lines)), (Some(1), expected.to_vec()));
    assert_eq!(
        detail(&lines, "planned_own_chain"),
        format!(
            "a Felix with the CA file and the lists as they will be would refuse us (unknown_ca): the certificate of \
             CN=\"typha-server\" is issued by CN=\"old\", which is not in the CA file; re-issue our certificate by a \
             CA of {new} first, or keep the old CA in {new} until then"
        )
    );
}

#[test]
fn ends_with_cas_of_their_own_need_not_share_the_new_one() {
    let site = Site::new();
    site.own_chain(&ca("of Typha alone"));
    let (code, lines) = site.check(&["--with-ca-file", &site.path("new.pem")]);
    let expected = [("info", "ca_removed"), ("info", "ca_added"), ("info", "planned_own_chain")];
    assert_eq!((code, names(&lines)), (Some(0), expected.to_vec()));
    assert_eq!(
        detail(&lines, "planned_own_chain"),
        "our chain does not lead to our CA file as it will be, nor does it now: Felix has another"
    );
}

#[test]
fn a_chain_of_a_ca_that_comes_is_good_news() {
    let site = Site::new();
    site.own_chain(&site.new);
    let (code, lines) = site.check(&["--with-ca-file", &site.path("new.pem")]);
    assert_eq!((code, names(&lines)[2]), (Some(0), ("info", "planned_own_chain")));
    assert_eq!(detail(&lines, "planned_own_chain"), "our chain leads to a CA of our CA file as it will be");
}
