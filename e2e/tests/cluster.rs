//! Tests on real control planes. Each starts its own, and leaves nothing behind.

#[path = "cluster/adoption.rs"]
mod adoption;
#[path = "cluster/approval.rs"]
mod approval;
#[path = "cluster/approval_tags.rs"]
mod approval_tags;
#[path = "cluster/bad_input.rs"]
mod bad_input;
#[path = "cluster/bootstrap.rs"]
mod bootstrap;
#[path = "cluster/cli.rs"]
mod cli;
#[path = "cluster/comeback.rs"]
mod comeback;
#[path = "cluster/confirmed.rs"]
mod confirmed;
#[path = "cluster/contested.rs"]
mod contested;
#[path = "cluster/crash.rs"]
mod crash;
#[path = "cluster/credentials.rs"]
mod credentials;
#[path = "cluster/deletion.rs"]
mod deletion;
#[path = "cluster/demo.rs"]
mod demo;
#[path = "cluster/doctor.rs"]
mod doctor;
#[path = "cluster/drift.rs"]
mod drift;
#[path = "cluster/ending.rs"]
mod ending;
#[path = "cluster/events.rs"]
mod events;
#[path = "cluster/faults.rs"]
mod faults;
#[path = "cluster/first_contact.rs"]
mod first_contact;
#[path = "cluster/fleet.rs"]
mod fleet;
#[path = "cluster/gates.rs"]
mod gates;
#[path = "cluster/healing.rs"]
mod healing;
#[path = "cluster/hooks.rs"]
mod hooks;
#[path = "cluster/http.rs"]
mod http;
#[path = "cluster/incidents.rs"]
mod incidents;
#[path = "cluster/inputs.rs"]
mod inputs;
#[path = "cluster/looking.rs"]
mod looking;
#[path = "cluster/loss.rs"]
mod loss;
#[path = "cluster/moves.rs"]
mod moves;
#[path = "cluster/on_call.rs"]
mod on_call;
#[path = "cluster/outlook.rs"]
mod outlook;
#[path = "cluster/own_chart.rs"]
mod own_chart;
#[path = "cluster/ownership.rs"]
mod ownership;
#[path = "cluster/places.rs"]
mod places;
#[path = "cluster/policy.rs"]
mod policy;
#[path = "cluster/production.rs"]
mod production;
#[path = "cluster/prune.rs"]
mod prune;
#[path = "cluster/recreate.rs"]
mod recreate;
#[path = "cluster/renderers.rs"]
mod renderers;
#[path = "cluster/requests.rs"]
mod requests;
#[path = "cluster/restart.rs"]
mod restart;
#[path = "cluster/rights.rs"]
mod rights;
#[path = "cluster/rollback.rs"]
mod rollback;
#[path = "cluster/sources.rs"]
mod sources;
#[path = "cluster/surgery.rs"]
mod surgery;
#[path = "cluster/sync.rs"]
mod sync;
#[path = "cluster/telemetry.rs"]
mod telemetry;
#[path = "cluster/trust.rs"]
mod trust;
#[path = "cluster/unseen.rs"]
mod unseen;
#[path = "cluster/waiting_plan.rs"]
mod waiting_plan;
#[path = "cluster/webhooks.rs"]
mod webhooks;
#[path = "cluster/yielding.rs"]
mod yielding;
