//! What the fuzz targets share: fixed material, certificates made of arbitrary parts, and a second reader of names.

pub mod certificate;
pub mod fixtures;
pub mod input;
pub mod names;
