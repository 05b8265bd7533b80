//! Takes a target's input apart. What is missing at the end reads as zero, so that every input means something.

/// The rest of an input.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    /// A big-endian number.
    pub fn number(&mut self) -> usize {
        usize::from(self.byte()) << 8 | usize::from(self.byte())
    }

    /// Up to `count` bytes.
    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Bytes after their number.
    pub fn counted(&mut self) -> &'a [u8] {
        let count = self.number();
        self.bytes(count)
    }

    pub fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// The opposite of [`Input::counted`], for the seeds.
pub fn counted(bytes: &[u8]) -> Vec<u8> {
    let count = u16::try_from(bytes.len()).expect("a seed is short");
    [&count.to_be_bytes(), bytes].concat()
}
