//! The kinds of differences, and how one is recognised.

use super::case::Case;
use super::certificate::Spec;

/// A kind of difference: one side refuses, for a reason, what has a property; the other side accepts it.
pub(super) struct Category {
    pub(super) accepted_by: Side,
    /// What `docs/differences.md` says.
    pub(super) documented: &'static str,
    /// The labels of our refusals, or a part of the errors of Go.
    reasons: &'static [&'static str],
    property: Property,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Side {
    Go,
    Ours,
}

enum Property {
    OfCase(fn(&Case) -> bool),
    /// Of one of the certificates that the refusal can be about.
    OfCertificate(fn(&Spec) -> bool),
}

/// Why the one side refuses what the other one accepts.
#[derive(Debug)]
pub(super) enum Refusal {
    Go(String),
    Ours { label: &'static str, text: String },
}

/// The label if our bundle can not be built.
pub(super) const BUNDLE: &str = "bundle";
/// Go's error if it skips all entries of the bundle.
pub(super) const NO_CA: &str = "no CA in the bundle";

impl Category {
    /// A property of the case that we refuse, with one of these labels.
    pub(super) const fn of_case_refused_by_us(
        documented: &'static str,
        labels: &'static [&'static str],
        property: fn(&Case) -> bool,
    ) -> Self {
        Self { accepted_by: Side::Go, documented, reasons: labels, property: Property::OfCase(property) }
    }

    /// A property of a certificate that we refuse, with one of these labels.
    pub(super) const fn of_certificate_refused_by_us(
        documented: &'static str,
        labels: &'static [&'static str],
        property: fn(&Spec) -> bool,
    ) -> Self {
        Self {
            accepted_by: Side::Go,
            documented,
            reasons: labels,
            property: Property::OfCertificate(property),
        }
    }

    /// A property of the case that Go refuses, with one of these errors.
    pub(super) const fn of_case_refused_by_go(
        documented: &'static str,
        errors: &'static [&'static str],
        property: fn(&Case) -> bool,
    ) -> Self {
        Self { accepted_by: Side::Ours, documented, reasons: errors, property: Property::OfCase(property) }
    }

    pub(super) fn explains(&self, refusal: &Refusal, case: &Case) -> bool {
        let is_reason = match refusal {
            Refusal::Go(error) => {
                self.accepted_by == Side::Ours && self.reasons.iter().any(|known| error.contains(known))
            }
            Refusal::Ours { label, .. } => self.accepted_by == Side::Go && self.reasons.contains(label),
        };
        is_reason
            && match self.property {
                Property::OfCase(has_property) => has_property(case),
                Property::OfCertificate(has_property) => refusal.accused(case).into_iter().any(has_property),
            }
    }
}

impl Refusal {
    /// The certificates that it can be about.
    fn accused<'a>(&self, case: &'a Case) -> Vec<&'a Spec> {
        let Self::Ours { label, text } = self else { return case.involved().collect() };
        // Such as "certificate 2 of the chain: its serial number is negative", counted from 1.
        let number = |text: &str| text.split([' ', ':']).next()?.parse::<usize>().ok();
        let number = text.split("certificate ").find_map(number);
        match (*label, number) {
            (BUNDLE, Some(number)) => case.trusted().skip(number - 1).take(1).collect(),
            ("malformed_certificate", Some(number)) => case.sent().skip(number - 1).take(1).collect(),
            ("malformed_certificate", None) if text.contains("the leaf: ") => vec![case.leaf()],
            ("ca_unusable", _) => case.issuers().collect(),
            ("malformed_certificate" | "unhandled_critical_extension" | "wrong_key_usage", _) => {
                case.sent().collect()
            }
            _ => case.involved().collect(),
        }
    }
}
