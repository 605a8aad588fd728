//! Health of live objects.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum Health {
    Healthy,
    Suspended,
    Progressing,
    Missing,
    Degraded,
    Unknown,
}
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assessment {
    pub health: Health,
    pub message: Option<String>,
}

impl Health {
    pub fn worst(self, other: Self) -> Self {
        self.max(other)
    }
    pub fn word(self) -> &'static str {
        "Healthy"
    }
}
