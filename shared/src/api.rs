//! The API that Skiff itself serves to people: the `App` resource of `skiff.dev`.
//!
//! Last in the pipeline, like [`report`](crate::report), whose values it turns into what `kubectl`
//! shows. Types and pure mappings only: the agent reads and writes the objects.

pub mod v1alpha1;

/// The API group of everything that Skiff defines, and the prefix of its labels and annotations.
pub const GROUP: &str = "skiff.dev";

/// The label that every managed object carries: which agent has it. Watches select by it.
pub const INSTANCE_LABEL: &str = "skiff.dev/instance";

/// The label that names a managed object's app, for people.
pub const APP_LABEL: &str = "skiff.dev/app";
