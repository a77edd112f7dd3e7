//! What can be wrong with a run, on purpose: so the checks are checked.

use carrick::{Block, RAW};

use crate::run::World;

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Nobody judges what arrives.
    Credulous,
    /// Every subscriber is handed all news twice.
    Twice,
    /// Nobody reads the news.
    Deaf,
    /// Subscribers have room for one message.
    Slow,
    /// The gate takes more of one link than it should.
    Overfull,
    /// A partition is never healed.
    Parted,
    /// Messages are lost to the end, for news too.
    Lossy,
    /// Something was put, as it were, and is not there.
    Forgetful,
    /// What was put is not looked for.
    Unasked,
    /// A task outlives all nodes.
    Undying,
}

impl Flaw {
    pub(crate) const ALL: [Self; 10] = [
        Self::Credulous,
        Self::Twice,
        Self::Deaf,
        Self::Slow,
        Self::Overfull,
        Self::Parted,
        Self::Lossy,
        Self::Forgetful,
        Self::Unasked,
        Self::Undying,
    ];

    /// What the check that notices it says.
    pub(crate) fn noticed_as(self) -> &'static str {
        match self {
            Self::Credulous => "was handed out, though it is bad",
            Self::Twice => "was handed out twice",
            Self::Deaf => "did not hand out all that it accepted",
            Self::Slow => "a subscriber missed",
            Self::Overfull => "the gate above its bound",
            Self::Parted => "lacks",
            Self::Lossy => "did not hear the news",
            Self::Forgetful => "lost what was put",
            Self::Unasked => "were looked for",
            Self::Undying => "left over",
        }
    }

    /// Does what can be done wrong at the end of a run.
    pub(crate) fn spoil(self, world: &mut World) {
        match self {
            Self::Parted => {
                let side: Vec<_> = world.members.iter().take(3).map(|member| member.peer()).collect();
                world.wire.partition(&[&side]);
            }
            Self::Forgetful => {
                world.members[0].put.push(Block::new(RAW, "never put"));
                world.put[0] += 1;
            }
            Self::Unasked => drop(world.members[0].put.pop()),
            Self::Undying => drop(tokio::spawn(std::future::pending::<()>())),
            Self::Credulous | Self::Twice | Self::Deaf | Self::Slow | Self::Overfull | Self::Lossy => {}
        }
    }
}
