//! The annotation by which a test says how a pod fares.

use std::time::Duration;

/// The annotation of a pod (through its template): a list such as `delay=2,exit=1`.
///
/// | part | what is reported |
/// | --- | --- |
/// | `delay=<seconds>` | nothing for that long, then the rest |
/// | `never-ready` | running, never ready |
/// | `crash-loop` | waiting with `CrashLoopBackOff` after five restarts |
/// | `image-pull-backoff` | waiting with `ImagePullBackOff` |
/// | `exit=<code>` | ended with that code; a crash loop where the restart policy starts it again |
///
/// A changed annotation of a living pod changes its fate.
pub const BEHAVIOUR: &str = "lab.skiff.dev/behaviour";

/// How a pod fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Behaviour {
    /// How long nothing is reported.
    pub(super) delay: Duration,
    /// What is reported then.
    pub(super) outcome: Outcome,
}

/// What becomes of a pod's containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Ready, or ended with success, as the restart policy suggests.
    #[default]
    Fine,
    NeverReady,
    CrashLoop,
    ImagePullBackOff,
    Exit(i32),
}

/// A part of the annotation that means nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UnknownBehaviour(pub(super) String);

impl Behaviour {
    /// Reads the annotation's text.
    pub(super) fn parse(text: &str) -> Result<Self, UnknownBehaviour> {
        let mut behaviour = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let unknown = || UnknownBehaviour(part.to_owned());
            match part.split_once('=') {
                None if part == "never-ready" => behaviour.outcome = Outcome::NeverReady,
                None if part == "crash-loop" => behaviour.outcome = Outcome::CrashLoop,
                None if part == "image-pull-backoff" => behaviour.outcome = Outcome::ImagePullBackOff,
                Some(("exit", code)) => {
                    behaviour.outcome = Outcome::Exit(code.parse().map_err(|_| unknown())?)
                }
                Some(("delay", seconds)) => {
                    let seconds = seconds.parse().map_err(|_| unknown())?;
                    behaviour.delay = Duration::try_from_secs_f64(seconds).map_err(|_| unknown())?;
                }
                _ => return Err(unknown()),
            }
        }
        Ok(behaviour)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_combined() {
        let wanted = Behaviour { delay: Duration::from_millis(1500), outcome: Outcome::Exit(3) };

        assert_eq!(Behaviour::parse("delay=1.5, exit=3"), Ok(wanted));
        assert_eq!(Behaviour::parse(""), Ok(Behaviour::default()));
    }

    #[test]
    fn part_that_means_nothing_is_named() {
        for part in ["sleepy", "exit=x", "delay=-1", "crash-loop=1"] {
            assert_eq!(Behaviour::parse(&format!("delay=1,{part}")), Err(UnknownBehaviour(part.to_owned())));
        }
    }
}
