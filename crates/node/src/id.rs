//! Ids of pod sandboxes, containers and exec'd processes: 64 lowercase hexadecimal digits.

use crate::error::{Error, Result};

/// A new random id.
pub fn generate() -> Result<String> {
    let mut bytes = [0u8; 32];
    let mut filled = 0;
    while filled < bytes.len() {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())
            .map_err(|error| Error::node("getrandom", error))?;
    }
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Whether `name` has the form of an id, and so may be part of a path.
pub fn is_id(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The first twelve digits, as people are shown ids.
pub fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ids_have_their_form_and_differ() {
        let (a, b) = (generate().unwrap(), generate().unwrap());
        assert!(is_id(&a) && is_id(&b) && a != b);
        assert!(!is_id("../etc") && !is_id(&a.to_uppercase()) || a.to_uppercase() == a);
    }
}
