//! Finds private keys in texts, and keeps logs for that.

use std::io;
use std::sync::{Arc, Mutex};

use typha_tls::testing::TestLeaf;

/// Searches a text for a P-256 key: in decimal, hexadecimal and base64.
pub struct Secret {
    traces: Vec<String>,
}

impl Secret {
    pub fn of(leaf: &TestLeaf) -> Self {
        let key = leaf.key();
        let der = key.secret_der();
        // The private number follows this header (RFC 5915 section 3); what comes behind it is the public key.
        let header = [0x02, 0x01, 0x01, 0x04, 0x20];
        let begin = der.windows(5).position(|window| window == header).unwrap() + header.len();
        let mut traces = Vec::new();
        for window in der[begin..begin + 32].windows(6) {
            let bare = |text: String| text.trim_matches(['[', ']']).to_owned();
            traces.push(bare(format!("{window:?}")));
            traces.push(bare(format!("{window:#x?}")).split_whitespace().collect::<Vec<_>>().join(" "));
            traces.push(bare(format!("{window:02x?}")));
            let hexadecimal: String = window.iter().map(|octet| format!("{octet:02x}")).collect();
            traces.push(hexadecimal.to_uppercase());
            traces.push(hexadecimal);
        }
        let base64: Vec<char> = leaf
            .key_pem()
            .lines()
            .filter(|line| !line.contains("-----"))
            .collect::<String>()
            .chars()
            .collect();
        let range = begin.div_ceil(3) * 4..(begin + 32) / 3 * 4;
        traces.extend(base64[range].windows(10).map(String::from_iter));
        Self { traces }
    }

    #[track_caller]
    pub fn assert_not_in(&self, text: &str) {
        // Pretty-printed lists have one number on each line.
        let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for trace in &self.traces {
            assert!(!text.contains(trace) && !one_line.contains(trace), "{trace} is in {text}");
        }
    }
}

/// Where a subscriber writes to.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
