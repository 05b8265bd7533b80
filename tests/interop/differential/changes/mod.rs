//! Cases: chains that are good but for one to three changes. The changes are drawn by a generator with a fixed seed.

pub(super) mod alternative_names;
mod draw;
mod extensions;
pub(super) mod fields;
mod sent;
pub(super) mod subject;
mod trusted;

use fastrand::Rng;

use super::case::Case;
use alternative_names::{other_names, uri};
use draw::any;
use extensions::{
    authority_key_identifier, extension_twice, malformed_extension, policies, set_basic_constraints,
    set_extended_key_usage, set_key_usage, set_name_constraints, unknown_extension,
};
use fields::{damage, hash, key_types, serial, time_forms, validity};
use sent::{duplicates, ends_early, long_path, shuffled, superfluous};
use subject::{common_name, common_names, required, subject};
use trusted::{
    intermediate_in_bundle, operator, other_entry, pinned, pinned_of_unknown, pinned_self_signed, renewed,
    same_name, without_ca,
};

#[derive(Clone, Copy)]
struct Change {
    name: &'static str,
    apply: fn(&mut Case, &mut Rng),
}

const fn change(name: &'static str, apply: fn(&mut Case, &mut Rng)) -> Change {
    Change { name, apply }
}

/// Those of which there are many kinds stand several times.
const CHANGES: &[Change] = &[
    change("none", |_, _| {}),
    change("authority key identifier", authority_key_identifier),
    change("basic constraints", set_basic_constraints),
    change("basic constraints", set_basic_constraints),
    change("bundle of a CA with the same name", same_name),
    change("bundle of a renewed CA", renewed),
    change("bundle of the intermediate", intermediate_in_bundle),
    change("bundle of the operator", operator),
    change("bundle with another entry", other_entry),
    change("bundle without the CA", without_ca),
    change("certificate policies", policies),
    change("chain ends early", ends_early),
    change("chain in another order", shuffled),
    change("chain with duplicates", duplicates),
    change("chain with superfluous certificates", superfluous),
    change("Common Name", common_name),
    change("Common Name", common_name),
    change("Common Names", common_names),
    change("damage", damage),
    change("extended key usage", set_extended_key_usage),
    change("extended key usage", set_extended_key_usage),
    change("extension that is malformed", malformed_extension),
    change("extension twice", extension_twice),
    change("extension unknown", unknown_extension),
    change("hash", hash),
    change("identity required", required),
    change("key", key_types),
    change("key usage", set_key_usage),
    change("long path", long_path),
    change("name constraints", set_name_constraints),
    change("name constraints", set_name_constraints),
    change("name constraints", set_name_constraints),
    change("names", other_names),
    change("pinned leaf", pinned),
    change("pinned leaf", pinned),
    change("pinned leaf, self-signed", pinned_self_signed),
    change("pinned leaf, self-signed", pinned_self_signed),
    change("pinned leaf of an unknown CA", pinned_of_unknown),
    change("serial", serial),
    change("subject", subject),
    change("time", time_forms),
    change("time", validity),
    change("unique identifiers", |case, rng| any(case, rng).has_unique_identifiers = true),
    change("URI SAN", uri),
    change("URI SAN", uri),
    change("URI SAN", uri),
    change("version", |case, rng| any(case, rng).version = rng.u8(1..3)),
];

/// The cases, each with its number of changes; the first change is each of [`CHANGES`] in turn.
pub(super) fn cases(count: usize) -> Vec<Case> {
    let mut rng = Rng::with_seed(1);
    (0..count)
        .map(|index| {
            let mut case = Case::new(&mut rng);
            let more = [0, 0, 0, 1, 1, 2][rng.usize(..6)];
            let more: Vec<_> = (0..more).map(|_| rng.usize(..CHANGES.len())).collect();
            for change in std::iter::once(index % CHANGES.len()).chain(more) {
                let Change { name, apply } = CHANGES[change];
                case.changes.push(name);
                apply(&mut case, &mut rng);
            }
            case
        })
        .collect()
}
