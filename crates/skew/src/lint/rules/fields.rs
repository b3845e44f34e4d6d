//! The rules for the fields of a message.

use std::collections::BTreeSet;

use super::{
    super::{
        finding::{Finding, Rule},
        schema::{Cardinality, Field, Interface, Message},
    },
    reserved,
    types::{Likeness, likeness},
};

/// What became of a message's fields.
pub fn compare(
    message: &str,
    before: &Message,
    now: &Message,
    interfaces: (&Interface, &Interface),
    findings: &mut Vec<Finding>,
) {
    for (number, was) in &before.fields {
        let element = format!("{message}.{} = {number}", was.name);
        let moved = now.fields.iter().find(|(other, field)| field.name == was.name && *other != number);
        match (now.fields.get(number), moved) {
            (is, Some((other, _))) => {
                let what = format!("it has the number {other} now");
                findings.push(Finding::error(Rule::NumberChanged, element.clone(), what));
                findings.extend(is.map(|is| reused(&element, was, is)));
            }
            (Some(is), None) => pair(&element, was, is, (before, now), interfaces, findings),
            (None, None) => findings.push(reserved::removed(element, *number, &was.name, now.reserved.as_ref())),
        }
    }
    for (number, is) in now.fields.iter().filter(|(number, _)| !before.fields.contains_key(number)) {
        let element = format!("{message}.{} = {number}", is.name);
        let again = reserved::used(&element, *number, &is.name, before.reserved.as_ref());
        findings.push(again.unwrap_or_else(|| Finding::added(element, format!("a new field: {is}"))));
    }
    let used = |number| now.fields.contains_key(&number);
    findings.extend(reserved::dropped(
        &format!("message {message}"),
        (before.reserved.as_ref(), now.reserved.as_ref()),
        used,
    ));
}

fn reused(element: &str, was: &Field, is: &Field) -> Finding {
    Finding::error(Rule::NumberReused, element, format!("the number of {was} means {is} now"))
}

/// The field of one number, before and now.
fn pair(
    element: &str,
    was: &Field,
    is: &Field,
    messages: (&Message, &Message),
    interfaces: (&Interface, &Interface),
    findings: &mut Vec<Finding>,
) {
    let alike = likeness(&was.value, &is.value, interfaces);
    if was.name != is.name && alike == Likeness::Different {
        findings.push(reused(element, was, is));
        return;
    }
    match alike {
        Likeness::Same => {}
        Likeness::OnTheWire(why) => {
            let what = format!("{} became {}: {why}", was.value, is.value);
            findings.push(Finding::warning(Rule::TypeChanged, element, what));
        }
        Likeness::Different => {
            let what = format!("{} became {}, which is read otherwise", was.value, is.value);
            findings.push(Finding::error(Rule::TypeChanged, element, what));
            return;
        }
    }
    if was.name != is.name {
        let what = format!("it is called {} now: JSON and code that know it by name break", is.name);
        findings.push(Finding::warning(Rule::Renamed, element, what));
    } else if was.json_name != is.json_name {
        let what = format!("JSON has it as {:?}, not {:?}", is.json_name, was.json_name);
        findings.push(Finding::warning(Rule::JsonNameChanged, element, what));
    }
    findings.extend(cardinality(element, was, is));
    findings.extend(oneof(element, was, is, messages));
}

fn cardinality(element: &str, was: &Field, is: &Field) -> Option<Finding> {
    let what = format!("{} became {}", was.cardinality, is.cardinality);
    match (&was.cardinality, &is.cardinality) {
        (before, now) if before == now => None,
        // A member of a oneof is known to be set or not: the oneof is what changed.
        _ if was.oneof != is.oneof => None,
        (Cardinality::Implicit, Cardinality::Optional) | (Cardinality::Optional, Cardinality::Implicit) => {
            let what = format!("{what}: code sees otherwise whether it is set");
            Some(Finding::warning(Rule::CardinalityChanged, element, what))
        }
        _ => Some(Finding::error(Rule::CardinalityChanged, element, what)),
    }
}

fn oneof(element: &str, was: &Field, is: &Field, (before, now): (&Message, &Message)) -> Option<Finding> {
    let found = |name: &Option<String>| name.as_deref().map_or("no oneof".to_owned(), |name| format!("oneof {name}"));
    let (from, to) = (found(&was.oneof), found(&is.oneof));
    if was.oneof == is.oneof {
        return None;
    }
    // It has no name on the wire: what counts is who shares it.
    if members(before, was) == members(now, is) {
        let what = format!("it is in {to}, not in {from}, with the same members: only code sees that");
        return Some(Finding::warning(Rule::OneofChanged, element, what));
    }
    let what = format!("it is in {to}, not in {from}: setting a member clears the others");
    Some(Finding::error(Rule::OneofChanged, element, what))
}

/// The fields of which only one can be set together with this one, itself included.
fn members(message: &Message, field: &Field) -> BTreeSet<i32> {
    let shares = |other: &Field| other.name == field.name || field.oneof.is_some() && other.oneof == field.oneof;
    message.fields.iter().filter(|(_, other)| shares(other)).map(|(number, _)| *number).collect()
}
