//! The rules for the values of an enum.

use super::{
    super::{
        finding::{Finding, Rule},
        schema::Enum,
    },
    reserved,
};

/// What became of an enum's values.
pub fn compare(name: &str, before: &Enum, now: &Enum, findings: &mut Vec<Finding>) {
    let element = |value: &str, number: i32| format!("enum {name}.{value} = {number}");
    let elsewhere = |value: &String, number: i32| {
        now.values.iter().find(|(other, names)| **other != number && names.contains(value)).map(|(other, _)| *other)
    };
    for (number, was) in &before.values {
        let is = now.values.get(number);
        for value in was.iter().filter(|value| is.is_none_or(|names| !names.contains(*value))) {
            let element = element(value, *number);
            let others = is.and_then(|names| names.difference(was).next());
            findings.push(match (elsewhere(value, *number), others, is) {
                (Some(other), _, _) => {
                    Finding::error(Rule::NumberChanged, element, format!("it has the number {other} now"))
                }
                (None, Some(other), _) => {
                    let what = format!("it is called {other} now: JSON and code that know it by name break");
                    Finding::warning(Rule::Renamed, element, what)
                }
                // Another name of the number is left.
                (None, None, Some(_)) => {
                    Finding::warning(Rule::Removed, element, "it is gone; its number has another name")
                }
                (None, None, None) => reserved::removed(element, *number, value, now.reserved.as_ref()),
            });
        }
    }
    for (number, names) in &now.values {
        let was = before.values.get(number);
        let new = names.iter().filter(|name| !before.values.values().any(|names| names.contains(*name)));
        for value in new.filter(|_| was.is_none_or(|was| was.is_subset(names))) {
            let element = element(value, *number);
            let again = reserved::used(&element, *number, value, before.reserved.as_ref());
            findings.push(again.unwrap_or_else(|| Finding::added(element, "a new value")));
        }
    }
    let used = |number| now.values.contains_key(&number);
    findings.extend(reserved::dropped(
        &format!("enum {name}"),
        (before.reserved.as_ref(), now.reserved.as_ref()),
        used,
    ));
}
