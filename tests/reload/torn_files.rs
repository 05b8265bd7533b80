//! Files that are written in place, slowly and in any order: no half of a change is ever put in force.

use std::io::Write as _;

use crate::files::Followed;
use crate::rig::*;

/// Every order of three things.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

#[tokio::test(start_paused = true)]
async fn in_every_order_and_in_halves() {
    for order in ORDERS {
        let followed = Followed::start().await;
        let renewed = followed.pki.b.issue(typha_spec()).unwrap();
        let contents = contents(&[&followed.pki.a, &followed.pki.b], &renewed);
        for index in order {
            let mut file = std::fs::File::create(followed.files.path(NAMES[index])).unwrap();
            let (first, second) = contents[index].as_bytes().split_at(contents[index].len() / 2);
            for part in [first, second] {
                file.write_all(part).unwrap();
                // Slow, but not as slow as to look finished.
                seconds(0.4).await;
                assert_eq!(*followed.acceptor.generations().borrow(), 1, "{order:?}");
            }
        }
        followed.until_generation(2).await;
        assert!(followed.has_leaf(&renewed));
        assert_eq!(followed.cas(), ["CN=\"a\"", "CN=\"b\""]);
        assert_eq!(followed.reloader.state().borrow().failures, 0, "{order:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_stops_in_the_middle() {
    for order in ORDERS {
        let followed = Followed::start().await;
        let renewed = followed.pki.a.issue(typha_spec()).unwrap();
        let contents = contents(&[&followed.pki.a], &renewed);
        let mut written = Vec::new();
        for index in order {
            followed.files.write(NAMES[index], &contents[index]);
            written.push(NAMES[index]);
            // Even what lasts is refused where the halves do not fit: a key and a chain that do not belong together.
            seconds(100.0).await;
            let has_pair = ["cert.pem", "key.pem"].iter().all(|name| written.contains(name));
            assert_eq!(*followed.acceptor.generations().borrow(), 1 + u64::from(has_pair), "{order:?}");
        }
        followed.until_generation(2).await;
        assert!(followed.has_leaf(&renewed), "{order:?}");
        assert_eq!(followed.reloader.state().borrow().failures, 1, "{order:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_key_of_another_leaf() {
    let followed = Followed::start().await;
    let other = followed.pki.a.issue(typha_spec()).unwrap();
    followed.files.write("key.pem", other.key_pem());
    let [chain, key] = ["cert.pem", "key.pem"].map(|name| followed.files.path(name));
    assert_eq!(
        followed.until_failures(1).await,
        format!(
            "{}: the private key does not belong to the certificate in {}",
            key.display(),
            chain.display()
        )
    );
    seconds(300.0).await;
    let state = followed.reloader.state().borrow().clone();
    assert_eq!((state.generation, state.failures, followed.log.take().len()), (1, 1, 1));
    followed.files.write("cert.pem", other.chain_pem());
    followed.until_generation(2).await;
    assert!(followed.has_leaf(&other));
}
