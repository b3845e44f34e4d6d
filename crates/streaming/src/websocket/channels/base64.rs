//! Base64 that comes in pieces.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};

/// With padding, as Kubernetes has it: Go does not mind what is in the last bits.
const ENGINE: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// This is not base64.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Invalid;

/// Decodes groups of four as they become complete.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// A group that is not complete: `have` characters of it.
    group: [u8; 4],
    have: usize,
    /// The last group was padded: nothing may follow.
    padded: bool,
}

impl Decoder {
    /// The bytes of all groups that are complete now.
    pub(super) fn decode(&mut self, text: &[u8]) -> Result<Vec<u8>, Invalid> {
        let mut bytes = Vec::with_capacity(text.len().saturating_add(3) / 4 * 3);
        let missing = (4 - self.have) % 4;
        let (completing, text) = text.split_at_checked(missing).unwrap_or((text, &[]));
        self.carry(completing);
        if self.have == 4 {
            let group = self.group;
            self.groups(&group, &mut bytes)?;
            self.have = 0;
        }
        let (whole, rest) = text.split_at_checked(text.len() - text.len() % 4).unwrap_or_default();
        self.groups(whole, &mut bytes)?;
        self.carry(rest);
        Ok(bytes)
    }

    /// The text has ended.
    pub(super) fn finish(&self) -> Result<(), Invalid> {
        if self.have == 0 { Ok(()) } else { Err(Invalid) }
    }

    fn carry(&mut self, text: &[u8]) {
        for (to, from) in self.group.iter_mut().skip(self.have).zip(text) {
            *to = *from;
        }
        self.have += text.len();
    }

    fn groups(&mut self, text: &[u8], bytes: &mut Vec<u8>) -> Result<(), Invalid> {
        let Some(last) = text.last() else { return Ok(()) };
        if self.padded {
            return Err(Invalid);
        }
        self.padded = *last == b'=';
        ENGINE.decode_vec(text, bytes).map_err(|_| Invalid)
    }
}

pub(super) fn encode(bytes: &[u8]) -> String {
    ENGINE.encode(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    fn in_pieces(text: &[u8], cuts: &[usize]) -> Result<Vec<u8>, Invalid> {
        let mut decoder = Decoder::default();
        let mut bytes = Vec::new();
        let mut rest = text;
        for cut in cuts {
            let (piece, behind) = rest.split_at((*cut).min(rest.len()));
            bytes.extend(decoder.decode(piece)?);
            rest = behind;
        }
        bytes.extend(decoder.decode(rest)?);
        decoder.finish()?;
        Ok(bytes)
    }

    proptest! {
        #[test]
        fn pieces_decode_to_what_the_whole_decodes_to(bytes: Vec<u8>, cuts in prop::collection::vec(0..9_usize, 0..20)) {
            prop_assert_eq!(in_pieces(encode(&bytes).as_bytes(), &cuts), Ok(bytes));
        }

        #[test]
        fn what_is_not_base64_is_refused_in_pieces_too(text in "[A-D=!+/]{0,13}", cuts in prop::collection::vec(0..5_usize, 0..9)) {
            prop_assert_eq!(in_pieces(text.as_bytes(), &cuts), ENGINE.decode(&text).map_err(|_| Invalid));
        }
    }

    #[test]
    fn nothing_may_follow_padding() {
        assert_eq!(in_pieces(b"Zg==", &[]), Ok(b"f".to_vec()));
        assert_eq!(in_pieces(b"Zg==Zg==", &[]), Err(Invalid));
        assert_eq!(in_pieces(b"Zg==Zg==", &[4]), Err(Invalid));
        assert_eq!(in_pieces(b"Zg=", &[1]), Err(Invalid));
    }
}
