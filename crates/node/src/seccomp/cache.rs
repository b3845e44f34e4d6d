//! Each profile is compiled once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use oci_spec::runtime::LinuxSeccomp;

use super::{Compiled, Error, compile};

/// How many compiled profiles are kept. A node has a few: the default one with some sets of capabilities, and a few files.
const CAPACITY: usize = 64;

/// Compiled profiles, by content: that of the default profile, and of one with conditions, follows from the capabilities too.
///
/// Several may ask at once; who asks for a profile that another is compiling waits for that.
#[derive(Debug, Default)]
pub struct Cache {
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    by_content: HashMap<Arc<str>, Entry>,
    /// Counts uses, for the age of entries.
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    slot: Arc<Mutex<Option<Arc<Compiled>>>>,
    used: u64,
}

impl Cache {
    /// The compiled form of a profile. Blocks for some milliseconds if it is new.
    ///
    /// # Errors
    /// As [`compile`]; an error is not kept.
    pub fn compile(&self, profile: &LinuxSeccomp) -> Result<Arc<Compiled>, Error> {
        let content = serde_json::to_string(profile).map_err(|e| Error::Store(e.into()))?;
        let slot = lock(&self.entries).slot(content);
        let mut compiled = lock(&slot);
        if let Some(known) = &*compiled {
            return Ok(Arc::clone(known));
        }
        let new = Arc::new(compile(profile)?);
        *compiled = Some(Arc::clone(&new));
        Ok(new)
    }
}

impl Entries {
    /// The place of a profile, a new one if need be, for which the one that was not used for longest goes.
    fn slot(&mut self, content: String) -> Arc<Mutex<Option<Arc<Compiled>>>> {
        self.clock += 1;
        let used = self.clock;
        if let Some(entry) = self.by_content.get_mut(content.as_str()) {
            entry.used = used;
            return Arc::clone(&entry.slot);
        }
        if self.by_content.len() >= CAPACITY {
            let oldest = self.by_content.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| Arc::clone(key));
            oldest.and_then(|key| self.by_content.remove(&key));
        }
        let slot = Arc::default();
        self.by_content.insert(content.into(), Entry { slot: Arc::clone(&slot), used });
        slot
    }
}

/// A thread that panicked while it held the lock has left nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use oci_spec::runtime::LinuxSeccompAction;

    use super::*;

    fn profile(errno: u32) -> LinuxSeccomp {
        let mut profile = LinuxSeccomp::default();
        profile.set_default_action(LinuxSeccompAction::ScmpActErrno).set_default_errno_ret(Some(errno));
        profile
    }

    #[test]
    fn many_who_ask_at_once_get_the_same() {
        let cache = Cache::default();
        let all: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| cache.compile(&profile(1)).unwrap())).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(all.iter().all(|one| Arc::ptr_eq(one, all.first().unwrap())));
        assert!(
            !Arc::ptr_eq(all.first().unwrap(), &cache.compile(&profile(2)).unwrap()),
            "other content, other filter"
        );
    }

    #[test]
    fn it_stays_small_and_keeps_what_is_used() {
        let cache = Cache::default();
        let kept = cache.compile(&profile(1)).unwrap();
        for errno in 2..200 {
            cache.compile(&profile(errno)).unwrap();
            assert!(Arc::ptr_eq(&kept, &cache.compile(&profile(1)).unwrap()));
        }
        assert_eq!(lock(&cache.entries).by_content.len(), CAPACITY);
    }

    #[test]
    fn an_error_is_not_kept() {
        let cache = Cache::default();
        assert!(cache.compile(&profile(100_000)).is_err());
        assert!(cache.compile(&profile(100_000)).is_err());
    }
}
