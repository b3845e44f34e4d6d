//! By which request, and which fields of it, each message of the history can be reached.

use std::collections::BTreeMap;

use crate::history::{Field, FieldType, Release, Scalar, Schema, TypeName};

/// The field of a map's entry that holds the value.
const MAP_VALUE: i32 = 2;

/// A way from a request to a message in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    /// The youngest thing on the way: the younger, the less likely a runtime knows it.
    youngest: Release,
    /// The numbers of the fields, from the request down.
    pub(super) numbers: Vec<i32>,
    /// The RPC, by `Service/Method`.
    pub(super) rpc: &'static str,
}

/// A route to every message that requests hold, the one of the oldest parts, and the shortest of these.
#[derive(Debug)]
pub(super) struct Routes {
    pub(super) to: BTreeMap<&'static str, Route>,
    /// By RPC: a text that is as old as the RPC, where there is one.
    texts: BTreeMap<&'static str, Route>,
}

impl Route {
    fn rank(&self) -> (Release, usize) {
        (self.youngest, self.numbers.len())
    }

    fn then(&self, field: &Field, since: Release, map: bool) -> Self {
        let mut numbers = self.numbers.clone();
        numbers.push(field.number);
        numbers.extend(map.then_some(MAP_VALUE));
        Self { youngest: self.youngest.max(since), numbers, rpc: self.rpc }
    }
}

impl Routes {
    pub(super) fn of(schema: &'static Schema) -> Self {
        let mut routes = Self { to: BTreeMap::new(), texts: BTreeMap::new() };
        for (name, rpc) in &schema.rpcs {
            let Some(youngest) = rpc.ranges.iter().map(|range| range.from).min() else { continue };
            let start = Route { youngest, numbers: Vec::new(), rpc: name };
            let mut own = BTreeMap::from([(rpc.request.as_str(), start)]);
            spread(schema, &mut own);
            routes.texts.extend(oldest_text(schema, &own).map(|text| (name.as_str(), text)));
            for (message, route) in own {
                keep(&mut routes.to, message, route);
            }
        }
        routes
    }

    /// The numbers of the fields down to a text that every runtime with the RPC knows.
    pub(super) fn text(&self, rpc: &str) -> Option<&[i32]> {
        self.texts.get(rpc).map(|route| route.numbers.as_slice())
    }
}

/// Keeps the better of two routes; whether that is the new one.
fn keep(to: &mut BTreeMap<&'static str, Route>, message: &'static str, route: Route) -> bool {
    let better = to.get(message).is_none_or(|known| route.rank() < known.rank());
    if better {
        to.insert(message, route);
    }
    better
}

/// Follows the fields until no route gets better. Messages do not hold themselves, so that is soon.
fn spread(schema: &'static Schema, to: &mut BTreeMap<&'static str, Route>) {
    let mut changed: Vec<&str> = to.keys().copied().collect();
    while let Some(name) = changed.pop() {
        let (Some(message), Some(route)) = (schema.messages.get(name), to.get(name).cloned()) else { continue };
        for field in &message.fields {
            let (Some(since), Some((inner, map))) = (since(field), inner(&field.field_type)) else { continue };
            if schema.messages.contains_key(inner) && keep(to, inner, route.then(field, since, map)) {
                changed.push(inner);
            }
        }
    }
}

fn oldest_text(schema: &'static Schema, to: &BTreeMap<&'static str, Route>) -> Option<Route> {
    let text = FieldType::Single(TypeName::Scalar(Scalar::String));
    let texts = to.iter().flat_map(|(name, route)| {
        let fields = schema.messages.get(*name).map(|message| message.fields.as_slice()).unwrap_or_default();
        // A text that became something else is none to rely on.
        let once = |field: &&Field| fields.iter().filter(|other| other.number == field.number).count() == 1;
        let found = fields.iter().filter(|field| field.field_type == text).filter(once);
        found.filter_map(|field| Some(route.then(field, since(field)?, false))).collect::<Vec<_>>()
    });
    texts.min_by_key(Route::rank)
}

fn since(field: &Field) -> Option<Release> {
    field.ranges.iter().map(|range| range.from).min()
}

/// The message that a field holds, if it does, and whether as a map's value.
fn inner(field_type: &FieldType) -> Option<(&str, bool)> {
    match field_type {
        FieldType::Single(TypeName::Named(name)) | FieldType::Repeated(TypeName::Named(name)) => Some((name, false)),
        FieldType::Map(_, TypeName::Named(name)) => Some((name, true)),
        _ => None,
    }
}
