//! `typha-tls-bench worker`: one end of one implementation, in a process of its own. What it is and does comes as lines of
//! JSON on stdin; see [`protocol`](super::protocol).
//!
//! The main thread reads the requests and waits. Connections run on the threads of the runtime alone, so that their number
//! is what the set-up says.

mod bare;
mod bulk;
mod clients;
mod conversation;
mod ends;
mod felix;
mod floor;
mod handshakes;
mod holding;
mod memory;
mod ours;
mod serving;
mod usage;
mod versions;

use std::error::Error;
use std::io;

use tokio::runtime::{Builder, Runtime};

use crate::descriptors;
use crate::output::{self, FAILED, SUCCESS};
use crate::protocol::{End, Implementation, Ready, Request, Setup};
use clients::Clients;
use conversation::Conversation;
use ends::{FelixEnd, TyphaEnd};
use felix::Load;
use serving::Server;
use usage::Counts;

/// Why a worker can not go on.
type Failure = Box<dyn Error + Send + Sync>;

pub(crate) fn run() -> u8 {
    match work() {
        Ok(()) => SUCCESS,
        Err(failure) => {
            output::complain(&*failure);
            FAILED
        }
    }
}

fn work() -> Result<(), Failure> {
    descriptors::raise_limit()?;
    let mut conversation = Conversation::new();
    let Some(setup) = conversation.next()? else { return Ok(()) };
    let setup: Setup = setup;
    match (setup.end, setup.implementation) {
        (End::Typha, Implementation::Ours) => typha(&setup, ours::Typha::new(&setup)?, conversation),
        (End::Typha, Implementation::Bare | Implementation::BareAes128) => {
            typha(&setup, bare::Typha::new(&setup)?, conversation)
        }
        (End::Felix, Implementation::Ours) => felix(&setup, ours::Felix::new(&setup)?, conversation),
        (End::Felix, Implementation::Bare | Implementation::BareAes128) => {
            felix(&setup, bare::Felix::new(&setup)?, conversation)
        }
        (End::Memory, Implementation::Ours) => {
            memory(&setup, ours::Typha::new(&setup)?, ours::Felix::new(&setup)?, conversation)
        }
        (End::Memory, Implementation::Bare | Implementation::BareAes128) => {
            memory(&setup, bare::Typha::new(&setup)?, bare::Felix::new(&setup)?, conversation)
        }
        (_, Implementation::Go) => Err("Go's worker is a program of its own".into()),
    }
}

fn typha<T: TyphaEnd>(setup: &Setup, typha: T, mut conversation: Conversation) -> Result<(), Failure> {
    let runtime = runtime(setup)?;
    let server = runtime.block_on(Server::start(typha))?;
    conversation.answer(&Ready { address: Some(server.address().to_string()), versions: T::versions() })?;
    while let Some(request) = conversation.next()? {
        match request {
            Request::Usage { .. } => conversation.answer(&usage::now(server.counts())?)?,
            request => return Err(misdirected(&request)),
        }
    }
    runtime.shutdown_background();
    Ok(())
}

fn felix<F: FelixEnd>(setup: &Setup, felix: F, mut conversation: Conversation) -> Result<(), Failure> {
    let runtime = runtime(setup)?;
    let mut load = Load::new(felix);
    conversation.answer(&Ready { address: None, versions: F::versions() })?;
    while let Some(request) = conversation.next()? {
        match request {
            Request::Usage { .. } => conversation.answer(&usage::now(&Counts::default())?)?,
            Request::Handshakes { address, clients, millis, rides } => {
                let load = load.handshakes(&address, clients, millis, rides);
                conversation.answer(&runtime.block_on(load)?)?;
            }
            Request::Leaves { usual, fresh } => {
                load.clients = Clients::new(load.felix.clone(), usual.as_ref(), fresh.as_ref())?;
                conversation.answer(&Ready { address: None, versions: F::versions() })?;
            }
            Request::Hold { address, connections } => {
                conversation.answer(&runtime.block_on(load.hold(&address, connections))?)?;
            }
            Request::Release => conversation.answer(&load.release())?,
            Request::Bulk { address, direction, millis } => {
                conversation.answer(&runtime.block_on(load.bulk(&address, direction, millis))?)?;
            }
            request => return Err(misdirected(&request)),
        }
    }
    runtime.shutdown_background();
    Ok(())
}

fn memory<T: TyphaEnd, F: FelixEnd>(
    setup: &Setup,
    typha: T,
    felix: F,
    mut conversation: Conversation,
) -> Result<(), Failure> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let pair = memory::Pair::new(typha, felix);
    conversation.answer(&Ready { address: None, versions: T::versions() })?;
    while let Some(request) = conversation.next()? {
        match request {
            Request::Usage { .. } => conversation.answer(&usage::now(&Counts::default())?)?,
            Request::InMemory { millis } => {
                conversation.answer(&runtime.block_on(pair.handshakes(millis))?)?;
            }
            Request::Floor { group, millis } => {
                conversation.answer(&floor::measure(&setup.files, &group, millis)?)?;
            }
            request => return Err(misdirected(&request)),
        }
    }
    Ok(())
}

fn runtime(setup: &Setup) -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(setup.threads.max(1)).enable_all().build()
}

fn misdirected(request: &Request) -> Failure {
    format!("this end can not do what is asked of it: {request:?}").into()
}
