//! One driver per app: the flat loop that feeds the machine and starts what it asks for.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use skiff_shared::inventory::Record;
use skiff_shared::ownership::OnRecord;
use skiff_shared::sync::Machine;
use skiff_shared::sync::effect::Effect;
use skiff_shared::sync::event::Event;

use super::mailbox::Mailbox;
use super::performer::Performer;
use super::registry::{Recorded, Registry};

/// Drives one app until it is stopped; ends when it has been drained.
pub struct Driver {
    pub machine: Machine,
    pub mailbox: Arc<Mailbox>,
    pub performer: Performer,
    pub registry: Arc<Registry>,
}

impl Driver {
    pub async fn run(mut self) {
        let mut wake = None;
        let mut draining = false;
        loop {
            let events = self.mailbox.drain(wake).await;
            draining |= events.iter().any(|event| matches!(event, Event::Drain));
            let loaded = events.iter().any(|event| matches!(event, Event::Loaded(_)));
            let step = self.machine.step(events, Timestamp::now());
            if loaded || step.effects.iter().any(changes_ownership) {
                self.note();
            }
            if self.registry.has_dependents(&self.performer.app) {
                self.registry.stands(&self.performer.app, self.machine.standing());
            }
            self.registry.sought.note(&self.performer.app, self.machine.sought());
            self.performer.start(step.effects);
            wake = step.wake;
            if draining && self.machine.is_drained() {
                self.registry.sought.note(&self.performer.app, BTreeSet::new());
                return self.performer.finish().await;
            }
        }
    }

    /// Tells the registry what the app owns and which bodies it needs.
    fn note(&self) {
        let rows = self.machine.rows();
        let owned = rows.iter().filter_map(|row| Some((row.id.clone(), recorded(&row.record)?))).collect();
        let recorded = rows.iter().filter_map(|row| Some(row.record.applied()?.body));
        let begun = rows.iter().filter_map(|row| Some(row.recreation.as_ref()?.body));
        let parting = rows.iter().filter_map(|row| Some(row.parting?.body));
        let wanted = rows.iter().filter_map(|row| row.wanted);
        let bodies = wanted.chain(recorded).chain(begun).chain(parting).collect();
        self.registry.note(&self.performer.app, owned, bodies, self.machine.stored());
    }
}

fn recorded(record: &Record) -> Option<Recorded> {
    let how = match record {
        Record::None => return None,
        Record::Claimed => OnRecord::Claimed,
        Record::Settled(_) => OnRecord::Settled,
    };
    Some(Recorded { how, applied: record.applied().map(|applied| applied.body) })
}

/// Effects after which the app owns or needs something else than before.
fn changes_ownership(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Save(..) | Effect::Keep(..) | Effect::Forget(_) | Effect::Dissolve(_) | Effect::Finished(_)
    )
}
