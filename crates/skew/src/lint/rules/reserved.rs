//! The rules for what is given up: its number and name must never mean something else.

use super::super::{
    finding::{Finding, Rule},
    schema::Reserved,
};

/// What is to say of a field or value that is gone.
pub fn removed(element: String, number: i32, name: &str, reserved: Option<&Reserved>) -> Finding {
    let Some(reserved) = reserved else {
        let what = "it is gone; the history does not say whether its number is reserved";
        return Finding::error(Rule::Removed, element, what);
    };
    match (reserved.has(number), reserved.names.contains(name)) {
        (true, true) => {
            let what = "it is gone, number and name are reserved: who still sends it is not heard";
            Finding::warning(Rule::Removed, element, what)
        }
        (true, false) => {
            let what = "it is gone, its number is reserved but not its name, which JSON goes by";
            Finding::warning(Rule::Removed, element, what)
        }
        (false, _) => Finding::error(Rule::Removed, element, "it is gone, and its number is not reserved"),
    }
}

/// A finding if something new uses what was reserved.
pub fn used(element: &str, number: i32, name: &str, reserved: Option<&Reserved>) -> Option<Finding> {
    let reserved = reserved?;
    if reserved.has(number) {
        let what = "its number was reserved: it meant something else once";
        return Some(Finding::error(Rule::ReservedUsed, element, what));
    }
    let what = "its name was reserved: JSON and code may take it for what it was";
    reserved.names.contains(name).then(|| Finding::warning(Rule::ReservedUsed, element, what))
}

/// What was reserved and is neither reserved nor used any more.
pub fn dropped(
    element: &str,
    sides: (Option<&Reserved>, Option<&Reserved>),
    used: impl Fn(i32) -> bool,
) -> Vec<Finding> {
    let (Some(before), Some(now)) = sides else { return Vec::new() };
    let free = before.numbers.iter().filter(|range| !now.has_all(range) && !used(*range.start()));
    let numbers = free.map(|range| match range.start() == range.end() {
        true => format!("number {}", range.start()),
        false => format!("numbers {} to {}", range.start(), range.end()),
    });
    let names = before.names.difference(&now.names).map(|name| format!("name {name:?}"));
    let drop =
        |what: String| Finding::warning(Rule::ReservationDropped, element, format!("{what}: no longer reserved"));
    numbers.chain(names).map(drop).collect()
}
