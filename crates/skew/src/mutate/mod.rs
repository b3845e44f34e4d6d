//! How strong the checks of `corten validate` are: answers of a good runtime are made wrong, one mutation at a time, and the checks
//! must notice.
//!
//! Mutations are made from the schema (every field of every answer: lost, changed, elements lost or doubled, ids swapped) and by
//! hand (see [`Fault`]: codes, filters, stale answers, streams). Each has a name, and does the same every time. Only those of fields
//! that the runtime sets are run: what it never says cannot be falsified.

mod catalog;
mod change;
mod clean;
mod free;
mod outcome;
mod run;
mod schema;
mod stage;

pub use self::{
    catalog::{Fault, Kind, Mutation, catalog},
    change::Change,
    outcome::{Counts, End, Finished, Report},
    run::{Error, Options, run},
};
