//! `typha-tls-bench worker`: one end of one implementation, in a process of its own. Its tasks come as lines of JSON on
//! stdin; see [`protocol`](super::protocol).
//!
//! The main thread reads the requests and waits. Connections run on the threads of the runtime alone, so that their
//! number is what the set-up asks for.

mod bare;
mod direct;
mod ends;
mod felix;
mod memory;
mod ours;
mod typha;

use std::io::{self, StdinLock, Write as _};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::{Builder, Runtime};

use crate::machine::raise_descriptor_limit;
use crate::protocol::{End, Implementation, Ready, Request, Setup};
use ends::{Failure, FelixEnd, TyphaEnd};
use felix::Load;
use memory::Pair;
use typha::Counts;

pub(crate) fn run() -> Result<(), Failure> {
    raise_descriptor_limit()?;
    let mut lines = io::stdin().lines();
    let Some(setup) = next::<Setup>(&mut lines)? else { return Ok(()) };
    match (setup.implementation, setup.end) {
        (Implementation::Ours, End::Typha) => {
            run_typha(&setup, ours::version(), ours::Typha::new(&setup)?, lines)
        }
        (Implementation::Ours, End::Felix) => {
            run_felix(&setup, ours::version(), ours::Felix::new(&setup)?, lines)
        }
        (Implementation::Ours, End::Memory) => {
            let pair = Pair::new(ours::Typha::new(&setup)?, ours::Felix::new(&setup)?);
            run_memory(&setup, ours::version(), &pair, lines)
        }
        (Implementation::Bare | Implementation::BareAes128, End::Typha) => {
            run_typha(&setup, bare::version(), bare::Typha::new(&setup)?, lines)
        }
        (Implementation::Bare | Implementation::BareAes128, End::Felix) => {
            run_felix(&setup, bare::version(), bare::Felix::new(&setup)?, lines)
        }
        (Implementation::Bare | Implementation::BareAes128, End::Memory) => {
            let pair = Pair::new(bare::Typha::new(&setup)?, bare::Felix::new(&setup)?);
            run_memory(&setup, bare::version(), &pair, lines)
        }
        (Implementation::Direct, End::Typha) => run_typha(&setup, direct::version(), direct::Backend, lines),
        (Implementation::Direct, End::Felix) => run_felix(&setup, direct::version(), direct::Felix, lines),
        (implementation, _) => Err(format!("{} is no worker of this program", implementation.name()).into()),
    }
}

type Lines = io::Lines<StdinLock<'static>>;

fn run_typha<T: TyphaEnd>(
    setup: &Setup,
    versions: String,
    typha: T,
    mut lines: Lines,
) -> Result<(), Failure> {
    let runtime = runtime(setup)?;
    let (address, counts) = runtime.block_on(typha::listen(typha))?;
    answer(&Ready { address: Some(address.to_string()), versions })?;
    while let Some(request) = next(&mut lines)? {
        match request {
            Request::Usage { .. } => answer(&counts.usage()?)?,
            request => return Err(misdirected(&request)),
        }
    }
    runtime.shutdown_background();
    Ok(())
}

fn run_felix<F: FelixEnd>(
    setup: &Setup,
    versions: String,
    felix: F,
    mut lines: Lines,
) -> Result<(), Failure> {
    let runtime = runtime(setup)?;
    let mut load = Load::new(felix);
    let ready = Ready { address: None, versions };
    answer(&ready)?;
    while let Some(request) = next(&mut lines)? {
        match request {
            Request::Usage { .. } => answer(&Counts::default().usage()?)?,
            Request::Handshakes { address, clients, millis, rides } => {
                answer(&runtime.block_on(load.handshakes(&address, clients, millis, rides))?)?;
            }
            Request::Leaves { usual, fresh } => {
                load.set_leaves(usual.as_ref(), fresh.as_ref())?;
                answer(&ready)?;
            }
            Request::Hold { address, connections } => {
                answer(&runtime.block_on(load.hold(&address, connections))?)?;
            }
            Request::Bulk { address, direction, millis } => {
                answer(&runtime.block_on(load.bulk(&address, direction, millis))?)?;
            }
            Request::Echo { address, millis } => {
                answer(&runtime.block_on(load.echo(&address, millis))?)?;
            }
            request => return Err(misdirected(&request)),
        }
    }
    runtime.shutdown_background();
    Ok(())
}

fn run_memory<T: TyphaEnd, F: FelixEnd>(
    setup: &Setup,
    versions: String,
    pair: &Pair<T, F>,
    mut lines: Lines,
) -> Result<(), Failure> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    answer(&Ready { address: None, versions })?;
    while let Some(request) = next(&mut lines)? {
        match request {
            Request::Usage { .. } => answer(&Counts::default().usage()?)?,
            Request::InMemory { millis } => answer(&runtime.block_on(pair.handshakes(millis))?)?,
            Request::Floor { group, millis } => answer(&memory::floor(&setup.files, &group, millis)?)?,
            request => return Err(misdirected(&request)),
        }
    }
    Ok(())
}

fn runtime(setup: &Setup) -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(setup.threads.max(1)).enable_all().build()
}

fn misdirected(request: &Request) -> Failure {
    format!("this end cannot do what the request asks for: {request:?}").into()
}

/// The next line of stdin. `None` at its end.
fn next<T: DeserializeOwned>(lines: &mut Lines) -> Result<Option<T>, Failure> {
    let Some(line) = lines.next().transpose()? else { return Ok(None) };
    match serde_json::from_str(&line) {
        Ok(value) => Ok(Some(value)),
        Err(error) => Err(format!("not a line for a worker: {error}: {line}").into()),
    }
}

fn answer<T: Serialize>(answer: &T) -> Result<(), Failure> {
    let line = serde_json::to_string(answer)?;
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    Ok(stdout.flush()?)
}
