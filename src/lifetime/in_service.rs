//! The numbers of connections in service.

use std::collections::HashMap;
use std::collections::hash_map::Entry::Occupied;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many connections are in service, in all and from each address.
#[derive(Debug, Default)]
pub(crate) struct InService {
    total: AtomicUsize,
    addresses: Mutex<HashMap<IpAddr, usize>>,
}

impl InService {
    pub(crate) fn total(&self) -> usize {
        self.total.load(Ordering::Acquire)
    }

    pub(crate) fn of(&self, address: IpAddr) -> usize {
        self.addresses().get(&address).copied().unwrap_or_default()
    }

    pub(crate) fn add(&self, address: IpAddr) {
        *self.addresses().entry(address).or_default() += 1;
        self.total.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn remove(&self, address: IpAddr) {
        if let Occupied(mut count) = self.addresses().entry(address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        self.total.fetch_sub(1, Ordering::AcqRel);
    }

    fn addresses(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
