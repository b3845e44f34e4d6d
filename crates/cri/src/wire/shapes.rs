//! What messages look like: the part of a schema that reading bytes needs.

use std::{
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
};

use crate::history::{Error, FieldType, History, Scalar, Snapshot, TypeName};

static COMPILED: LazyLock<Result<Shapes, &'static Error>> = LazyLock::new(|| {
    let history = History::embedded()?;
    let newest = history.v1.releases.iter().max().ok_or(&Error::NoReleases)?;
    history.v1.in_release(*newest).map(|snapshot| Shapes::of(&snapshot)).map_err(|_| &Error::NoReleases)
});

/// The messages of a release, or those that several have in common.
#[derive(Debug)]
pub struct Shapes {
    all: Vec<Shape>,
    by_name: HashMap<String, usize>,
}

/// One message.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) name: String,
    /// Whether it is the entry of a map.
    pub(super) is_entry: bool,
    /// By number, ascending.
    fields: Vec<(u32, Slot)>,
}

/// One field.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Whether there may be several.
    pub(super) repeated: bool,
}

/// What a field's values are.
#[derive(Debug)]
pub(super) enum Kind {
    /// Integers and booleans.
    Varint,
    /// The values an enum has, ascending.
    Enum(Vec<i32>),
    /// `double`
    Fixed64,
    /// `bytes`
    Bytes,
    /// `string`
    Text,
    /// A message, or the entry of a map: the shape's index.
    Message(usize),
}

impl Shape {
    pub(super) fn slot(&self, number: u32) -> Option<&Slot> {
        let index = self.fields.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        self.fields.get(index).map(|(_, slot)| slot)
    }

    /// The fields with their numbers.
    pub(super) fn slots(&self) -> impl Iterator<Item = (u32, &Slot)> {
        self.fields.iter().map(|(number, slot)| (*number, slot))
    }
}

impl Shapes {
    /// What one release has.
    pub fn of(release: &Snapshot<'_>) -> Self {
        Self::common(release, &[])
    }

    /// What this build was made from: the newest release of the table, as a test holds.
    ///
    /// # Errors
    /// [`Error`] if the table in the repository is broken.
    pub fn compiled() -> Result<&'static Self, &'static Error> {
        COMPILED.as_ref().map_err(|error| *error)
    }

    /// What a release and all others given have alike: messages by name, fields by number and type (`string` and
    /// `bytes` are alike, and text where one has text), values of enums by number. A number that means something else
    /// in one of them is left out.
    pub fn common(release: &Snapshot<'_>, others: &[&Snapshot<'_>]) -> Self {
        let mut shapes = Self { all: Vec::new(), by_name: HashMap::new() };
        let everywhere = |name: &str| others.iter().all(|other| other.messages.contains_key(name));
        for name in release.messages.keys().filter(|name| everywhere(name)) {
            shapes.by_name.insert((*name).to_owned(), shapes.all.len());
            shapes.all.push(Shape { name: (*name).to_owned(), is_entry: false, fields: Vec::new() });
        }
        for (name, fields) in &release.messages {
            let Some(index) = shapes.by_name.get(*name).copied() else { continue };
            let mut slots = BTreeMap::new();
            for (number, field) in fields {
                let types = others.iter().map(|other| other.messages[*name].get(number).map(|field| &field.field_type));
                let Some(types) = types.collect::<Option<Vec<_>>>() else { continue };
                if let (Some(kind), Ok(number)) =
                    (shapes.kind(release, others, &field.field_type, &types), u32::try_from(*number))
                {
                    let repeated = !matches!(field.field_type, FieldType::Single(_));
                    slots.insert(number, Slot { name: field.name.clone(), kind, repeated });
                }
            }
            if let Some(shape) = shapes.all.get_mut(index) {
                shape.fields = slots.into_iter().collect();
            }
        }
        shapes
    }

    fn kind(
        &mut self,
        release: &Snapshot<'_>,
        others: &[&Snapshot<'_>],
        own: &FieldType,
        types: &[&FieldType],
    ) -> Option<Kind> {
        let (own_name, names) = match own {
            FieldType::Single(name) | FieldType::Repeated(name) => {
                let names = types.iter().map(|other| match other {
                    FieldType::Single(name) | FieldType::Repeated(name) => Some(name),
                    FieldType::Map(..) => None,
                });
                (name, names.collect::<Option<Vec<_>>>()?)
            }
            FieldType::Map(key, value) => {
                let values = types.iter().map(|other| match other {
                    FieldType::Map(other, value) if other == key => Some(value),
                    _ => None,
                });
                let values = values.collect::<Option<Vec<_>>>()?;
                let value = self.one(release, others, value, &values)?;
                let slots = [("key", scalar(*key)), ("value", value)].map(|(name, kind)| Slot {
                    name: name.into(),
                    kind,
                    repeated: false,
                });
                self.all.push(Shape { name: own.to_string(), is_entry: true, fields: (1..).zip(slots).collect() });
                return Some(Kind::Message(self.all.len() - 1));
            }
        };
        self.one(release, others, own_name, &names)
    }

    fn one(
        &self,
        release: &Snapshot<'_>,
        others: &[&Snapshot<'_>],
        own: &TypeName,
        names: &[&TypeName],
    ) -> Option<Kind> {
        match own {
            TypeName::Scalar(own) => {
                let mut kind = scalar(*own);
                for name in names {
                    let TypeName::Scalar(other) = name else { return None };
                    kind = alike(kind, scalar(*other))?;
                }
                Some(kind)
            }
            TypeName::Named(name) if names.iter().all(|other| *other == own) => {
                if let Some(index) = self.by_name.get(name) {
                    return Some(Kind::Message(*index));
                }
                let mut values: Vec<i32> = release.enums.get(name.as_str())?.keys().copied().collect();
                for other in others {
                    let has = other.enums.get(name.as_str())?;
                    values.retain(|value| has.contains_key(value));
                }
                Some(Kind::Enum(values))
            }
            TypeName::Named(_) => None,
        }
    }

    /// A message by its name.
    pub fn message(&self, name: &str) -> Option<super::Message<'_>> {
        Some(super::Message { shapes: self, shape: self.at(*self.by_name.get(name)?)? })
    }

    /// The names of all messages.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    pub(super) fn at(&self, index: usize) -> Option<&Shape> {
        self.all.get(index)
    }
}

fn scalar(scalar: Scalar) -> Kind {
    match scalar {
        Scalar::Bool | Scalar::Int32 | Scalar::Int64 | Scalar::Uint32 | Scalar::Uint64 => Kind::Varint,
        Scalar::Double => Kind::Fixed64,
        Scalar::Bytes => Kind::Bytes,
        Scalar::String => Kind::Text,
    }
}

/// What values of two types have in common on the wire.
fn alike(one: Kind, other: Kind) -> Option<Kind> {
    match (one, other) {
        (Kind::Varint, Kind::Varint) => Some(Kind::Varint),
        (Kind::Fixed64, Kind::Fixed64) => Some(Kind::Fixed64),
        (Kind::Bytes, Kind::Bytes) => Some(Kind::Bytes),
        (Kind::Text | Kind::Bytes, Kind::Text | Kind::Bytes) => Some(Kind::Text),
        _ => None,
    }
}
