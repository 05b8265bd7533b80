//! A listener among peers, owners and systems that fail: nobody else is held up, everything is counted, and all is
//! given back.

#![cfg(target_os = "linux")]

mod dropping;
mod hello_floods;
mod low_descriptors;
mod other_process;
mod overload;
mod owners;
mod resets;
mod site;
mod slow_peers;
