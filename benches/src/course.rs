//! What the peers of a contest are to do.

use super::context::Context;
use super::cores::Assignment;
use super::mode::Mode;

/// Who makes the load.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Load {
    /// One Felix for all Typhas, the bare one.
    Neutral,
    /// Each peer's own Felix.
    Own,
}

/// What the peers are to do.
pub(crate) struct Course<'a> {
    pub(crate) context: &'a Context,
    pub(crate) mode: Mode,
    pub(crate) assignment: Assignment,
    pub(crate) load: Load,
    pub(crate) clients: usize,
    /// Instead of Typha's bundle.
    pub(crate) ca: Option<String>,
    /// The share of clients that no Typha has seen.
    pub(crate) fresh_share: f64,
    /// Leaves of the other clients, which each Typha sees before it is measured. None: Felix's own one.
    pub(crate) usual_leaves: usize,
}

impl<'a> Course<'a> {
    pub(crate) fn new(context: &'a Context, mode: Mode, assignment: &Assignment, load: Load) -> Self {
        let fresh_share = mode.fresh_share();
        // A Felix has one leaf; the neutral load stands for many of them.
        let many = load == Load::Neutral && fresh_share < 1.0;
        Self {
            context,
            mode,
            assignment: assignment.clone(),
            load,
            clients: context.clients,
            ca: None,
            fresh_share,
            usual_leaves: if many { context.usual_leaves } else { 0 },
        }
    }
}
