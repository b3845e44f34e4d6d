//! What came of mutations.

use std::{collections::BTreeSet, fmt};

use super::catalog::{Kind, Mutation};

/// How a mutation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// This check noticed it: with it the check failed, without it the same check passed right afterwards.
    Caught(String),
    /// This check failed with it, and without it too: that says nothing, and no other check failed.
    Doubtful(String),
    /// No check noticed it.
    Survived,
    /// It never changed anything: no answer was one that it is about.
    NotApplied,
}

/// A mutation that was run.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The mutation.
    pub mutation: Mutation,
    /// How it ended.
    pub end: End,
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.end {
            End::Caught(by) => write!(f, "caught       {} ({by})", self.mutation),
            End::Doubtful(by) => write!(f, "DOUBTFUL     {} ({by}: fails without it too)", self.mutation),
            End::Survived => write!(f, "SURVIVED     {}", self.mutation),
            End::NotApplied => write!(f, "not applied  {}", self.mutation),
        }
    }
}

/// How many mutations ended how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Noticed.
    pub caught: usize,
    /// Applied and not noticed, those included of which it cannot be told.
    pub survived: usize,
    /// Never applied: neither of the two.
    pub not_applied: usize,
}

/// How many of a hundred mutations that were applied the checks have to notice.
const ENOUGH: usize = 95;

impl Counts {
    /// How many changed something.
    pub fn applied(&self) -> usize {
        self.caught + self.survived
    }

    /// Whether at least 95 of 100 were caught; of none it cannot be said.
    pub fn is_enough(&self) -> Option<bool> {
        (self.applied() > 0).then(|| self.caught * 100 >= self.applied() * ENOUGH)
    }
}

/// What came of all.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The mutations, in their order.
    pub finished: Vec<Finished>,
}

impl Report {
    /// How many ended how.
    pub fn counts(&self) -> Counts {
        counts(self.finished.iter())
    }

    /// The same by the kind of the fault.
    pub fn by_kind(&self) -> Vec<(Kind, Counts)> {
        let of = |kind| counts(self.finished.iter().filter(|one| one.mutation.fault.kind() == kind));
        Kind::ALL.into_iter().map(|kind| (kind, of(kind))).collect()
    }

    /// The RPCs of which an answer was made wrong.
    pub fn rpcs(&self) -> BTreeSet<&str> {
        let applied = self.finished.iter().filter(|one| one.end != End::NotApplied);
        applied.map(|one| one.mutation.rpc.as_str()).collect()
    }
}

fn counts<'a>(finished: impl Iterator<Item = &'a Finished>) -> Counts {
    let mut counts = Counts::default();
    for one in finished {
        match one.end {
            End::Caught(_) => counts.caught += 1,
            End::Survived | End::Doubtful(_) => counts.survived += 1,
            End::NotApplied => counts.not_applied += 1,
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutate::Fault;

    fn finished(end: End, fault: Fault) -> Finished {
        let rpc = "RuntimeService/ExecSync".to_owned();
        Finished { mutation: Mutation { name: format!("{rpc} {fault:?}"), rpc, fault }, end }
    }

    #[test]
    fn only_what_was_applied_counts_and_what_is_doubtful_is_not_caught() {
        let caught = || End::Caught("a/b".to_owned());
        let ends = [caught(), End::Survived, End::Doubtful("a/b".to_owned()), End::NotApplied];
        let report = Report { finished: ends.into_iter().map(|end| finished(end, Fault::Stale)).collect() };
        assert_eq!(report.counts(), Counts { caught: 1, survived: 2, not_applied: 1 });
        assert_eq!(report.counts().is_enough(), Some(false));
        assert_eq!(report.by_kind().last(), Some(&(Kind::Stale, report.counts())));
        assert_eq!(report.rpcs().len(), 1);
        let nothing = Report { finished: vec![finished(End::NotApplied, Fault::Stale)] };
        assert_eq!(nothing.counts().is_enough(), None, "nothing was applied");
        assert!(nothing.rpcs().is_empty());
        assert_eq!(Counts { caught: 95, survived: 5, not_applied: 500 }.is_enough(), Some(true));
        assert_eq!(Counts { caught: 94, survived: 5, not_applied: 0 }.is_enough(), Some(false));
    }
}
