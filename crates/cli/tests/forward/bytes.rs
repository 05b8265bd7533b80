//! Bytes arrive as they were sent, in random pieces, both ways at once.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::thread;

use crate::rig::Pair;

/// Random numbers that are the same in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Mostly small, sometimes more than all buffers on the way hold.
    fn length(&mut self) -> usize {
        let most = [1, 100, 20_000, 300_000][self.next() as usize % 4];
        1 + self.next() as usize % most
    }
}

/// The bytes of a stream, made as they are needed.
struct Bytes {
    random: Random,
    left: usize,
}

impl Bytes {
    fn new(seed: u64, all: usize) -> Self {
        Self { random: Random(seed), left: all }
    }

    fn fill(&mut self, buffer: &mut [u8]) {
        for (index, byte) in buffer.iter_mut().enumerate() {
            *byte = (self.random.next() >> (index % 8)) as u8;
        }
    }
}

fn send(mut to: TcpStream, seed: u64, all: usize) {
    let (mut bytes, mut pieces) = (Bytes::new(seed, all), Random(seed + 1));
    let mut buffer = vec![0; 300_000];
    while bytes.left > 0 {
        let length = pieces.length().min(bytes.left);
        bytes.fill(&mut buffer[..length]);
        to.write_all(&buffer[..length]).unwrap();
        bytes.left -= length;
    }
    to.shutdown(Shutdown::Write).unwrap();
}

fn receive(mut from: TcpStream, seed: u64, all: usize) {
    // The pieces of the sender, so that the bytes are made in the same way.
    let (mut bytes, mut pieces) = (Bytes::new(seed, all), Random(seed + 1));
    let (mut expected, mut received) = (vec![0; 300_000], vec![0; 300_000]);
    while bytes.left > 0 {
        let length = pieces.length().min(bytes.left);
        bytes.fill(&mut expected[..length]);
        from.read_exact(&mut received[..length]).unwrap();
        assert!(expected[..length] == received[..length], "{} bytes before the end", bytes.left);
        bytes.left -= length;
    }
    assert_eq!(from.read(&mut received).unwrap(), 0);
}

fn both_ways(all: usize) {
    let pair = Pair::new();
    let [client, server] = pair.connect();
    let mut threads = Vec::new();
    for (from, to, seed) in [(&client, &server, 1), (&server, &client, 2)] {
        let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        threads.push(thread::spawn(move || send(from, seed, all)));
        threads.push(thread::spawn(move || receive(to, seed, all)));
    }
    for thread in threads {
        thread.join().unwrap();
    }
    for daemon in [&pair.typha, &pair.felix] {
        let line = daemon.next("ended");
        let all = Some(all as u64);
        assert_eq!((line["received"].as_u64(), line["sent"].as_u64()), (all, all));
    }
}

#[test]
fn random_pieces_both_ways() {
    both_ways(8 * 1024 * 1024);
}

#[test]
#[ignore = "of the real size"]
fn a_gibibyte_in_random_pieces_both_ways() {
    both_ways(1024 * 1024 * 1024);
}

/// A reader that pauses stops its own connection only, and loses nothing.
#[test]
fn a_slow_reader_stops_only_its_own_connection() {
    let pair = Pair::new();
    let [slow, server] = pair.connect();
    let sending = thread::spawn(move || send(server, 3, 16 * 1024 * 1024));
    for _ in 0..20 {
        let [mut client, mut server] = pair.connect();
        client.write_all(b"ping").unwrap();
        server.read_exact(&mut [0; 4]).unwrap();
        server.write_all(b"pong").unwrap();
        client.read_exact(&mut [0; 4]).unwrap();
    }
    assert!(!sending.is_finished(), "the buffers on the way hold everything");
    receive(slow, 3, 16 * 1024 * 1024);
    sending.join().unwrap();
}
