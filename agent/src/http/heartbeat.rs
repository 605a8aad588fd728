//! Signs of life of the long-lived tasks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// All tasks that promised to beat. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Heartbeats {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    began: Instant,
    tasks: Mutex<BTreeMap<u64, Task>>,
    next: AtomicU64,
}

#[derive(Debug)]
struct Task {
    name: String,
    within: Duration,
    /// Milliseconds from `began` to the last beat.
    last: Arc<AtomicU64>,
}

/// One task's promise. It ends with the value: a task that has ended on purpose is not late.
#[derive(Debug)]
pub struct Heartbeat {
    shared: Arc<Shared>,
    number: u64,
    last: Arc<AtomicU64>,
}

impl Default for Heartbeats {
    fn default() -> Self {
        let shared = Shared { began: Instant::now(), tasks: Mutex::default(), next: AtomicU64::new(0) };
        Self { shared: Arc::new(shared) }
    }
}

impl Heartbeats {
    /// Promises that the task `name` beats at least once in every span of `within`, from now on.
    pub fn promise(&self, name: impl Into<String>, within: Duration) -> Heartbeat {
        let last = Arc::new(AtomicU64::new(self.shared.now()));
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        self.shared.tasks().insert(number, Task { name: name.into(), within, last: last.clone() });
        Heartbeat { shared: self.shared.clone(), number, last }
    }

    /// Returns a line for every task that has not beaten in time.
    pub fn late(&self, now: Instant) -> Vec<String> {
        let now = milliseconds(now.saturating_duration_since(self.shared.began));
        let tasks = self.shared.tasks();
        let silence =
            |task: &Task| Duration::from_millis(now.saturating_sub(task.last.load(Ordering::Acquire)));
        let late = tasks.values().filter(|task| silence(task) > task.within);
        late.map(|task| format!("{} has been silent for {} s", task.name, silence(task).as_secs())).collect()
    }
}

impl Heartbeat {
    /// Says that the task is alive.
    pub fn beat(&self) {
        self.last.store(self.shared.now(), Ordering::Release);
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.shared.tasks().remove(&self.number);
    }
}

impl Shared {
    fn now(&self) -> u64 {
        milliseconds(self.began.elapsed())
    }

    fn tasks(&self) -> MutexGuard<'_, BTreeMap<u64, Task>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_task_is_late_when_it_has_not_beaten_in_time() {
        let heartbeats = Heartbeats::default();
        let lease = heartbeats.promise("lease", MINUTE);
        let _poller = heartbeats.promise("poller git.example/shop", 10 * MINUTE);
        assert_eq!(heartbeats.late(Instant::now()), [""; 0]);
        let later = Instant::now() + 2 * MINUTE;
        assert_eq!(heartbeats.late(later), ["lease has been silent for 120 s"]);
        lease.beat();
        assert_eq!(heartbeats.late(Instant::now()), [""; 0]);
    }

    #[test]
    fn a_task_that_has_ended_is_not_late() {
        let heartbeats = Heartbeats::default();
        drop(heartbeats.promise("driver web", MINUTE));
        assert_eq!(heartbeats.late(Instant::now() + 2 * MINUTE), [""; 0]);
    }
}
