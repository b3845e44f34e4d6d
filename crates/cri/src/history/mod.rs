//! The CRI, release by release, as data.
