//! Our `managedFields` entry, reduced.

use serde::{Deserialize, Serialize};

pub const FIELD_MANAGER: &str = "skiff";
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Owned {
    pub digest: u128,
    pub time: i64,
}
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Fields {
    pub ours: Option<Owned>,
    pub others: u64,
    pub status: u64,
}
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry;
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FieldSet;
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Path;
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Actor;
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ForeignOwner;
