//! Finding in a message what a schema does not have.

use std::collections::{BTreeSet, HashMap};

use super::{Message, WireType, fields::Fields, shapes::Kind};

/// How many different unknown fields of one message are told apart; the others are counted.
pub const MAX_UNKNOWN: usize = 32;

/// A field that the schema does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// The path of the message it is in, without indices: `CreateContainerRequest.config.linux`.
    pub path: String,
    /// The names of the messages it is in, the outermost first.
    pub within: Vec<String>,
    /// The field's number.
    pub number: u32,
    /// How its value is laid out.
    pub wire_type: WireType,
    /// How often it comes.
    pub count: u64,
}

/// The unknown fields of one message.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct UnknownFields {
    /// At most [`MAX_UNKNOWN`] different ones, in the order met.
    pub fields: Vec<Unknown>,
    /// How many more there are, of others.
    pub more: u64,
}

impl UnknownFields {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}

impl Message<'_> {
    /// The fields that the schema does not have, at any depth.
    pub fn unknown(&self, bytes: &[u8]) -> UnknownFields {
        let mut search = Search {
            found: UnknownFields::default(),
            places: HashMap::new(),
            numbers: BTreeSet::new(),
            path: vec![(self.name(), self.name())],
        };
        search.message(self, bytes);
        search.found
    }
}

struct Search<'s> {
    found: UnknownFields,
    /// Where in `found` a field is, by the names of the fields it is below, its number and its type.
    places: HashMap<(Vec<&'s str>, u32, WireType), usize>,
    /// The numbers in `found`.
    numbers: BTreeSet<u32>,
    /// The names of the fields that lead here, each with its message's name.
    path: Vec<(&'s str, &'s str)>,
}

impl<'s> Search<'s> {
    fn message(&mut self, message: &Message<'s>, bytes: &[u8]) {
        for field in Fields::of(bytes) {
            match message.shape.slot(field.number) {
                None => self.add(field.number, field.wire_type),
                Some(slot) => {
                    let Kind::Message(index) = &slot.kind else { continue };
                    let Some(nested) = message.nested(*index).filter(|_| field.wire_type == WireType::Length) else {
                        continue;
                    };
                    self.path.push((&slot.name, nested.name()));
                    self.message(&nested, field.value);
                    self.path.pop();
                }
            }
        }
    }

    fn add(&mut self, number: u32, wire_type: WireType) {
        // A flood of them costs no more than counting.
        if self.found.fields.len() == MAX_UNKNOWN && !self.numbers.contains(&number) {
            self.found.more += 1;
            return;
        }
        let key = (self.path.iter().map(|(name, _)| *name).collect(), number, wire_type);
        if let Some(known) = self.places.get(&key).and_then(|index| self.found.fields.get_mut(*index)) {
            known.count += 1;
            return;
        }
        if self.found.fields.len() == MAX_UNKNOWN {
            self.found.more += 1;
            return;
        }
        let path = key.0.join(".");
        self.numbers.insert(number);
        self.places.insert(key, self.found.fields.len());
        let within = self.path.iter().map(|(_, message)| (*message).to_owned()).collect();
        self.found.fields.push(Unknown { path, within, number, wire_type, count: 1 });
    }
}
