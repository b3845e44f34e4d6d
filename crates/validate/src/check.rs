//! What a check is.

use std::{fmt, pin::Pin};

use crate::{context::Ctx, verdict::Checked};

/// A check at work.
pub type Running = Pin<Box<dyn Future<Output = Checked> + Send>>;

/// One thing that the CRI documents, and how to see whether a runtime does it.
#[derive(Clone, Copy)]
pub struct Check {
    /// `area/what-is-checked`.
    pub name: &'static str,
    /// What the CRI documents, in one line.
    pub says: &'static str,
    /// What of the interface it needs beyond the first release of `v1` (see [`crate::knowledge::Need`]).
    pub needs: &'static [&'static str],
    /// The check itself.
    pub run: fn(Ctx) -> Running,
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The checks of an area: `name, says, [needs], function;` each.
macro_rules! checks {
    ($($name:literal, $says:literal, [$($need:literal),* $(,)?], $function:path;)+) => {
        /// The checks of this area.
        pub const CHECKS: &[$crate::check::Check] = &[$(
            $crate::check::Check {
                name: $name,
                says: $says,
                needs: &[$($need),*],
                run: |ctx| Box::pin($function(ctx)),
            },
        )+];
    };
}
pub(crate) use checks;
