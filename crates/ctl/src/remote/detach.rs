//! The keys that end a session and leave what it shows running.

use std::str::FromStr;

/// A sequence of keys; an empty one never comes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DetachKeys(Vec<u8>);

impl FromStr for DetachKeys {
    type Err = String;

    /// As docker writes it: keys with commas between them, each a character or `ctrl-` and a character.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        text.split(',').map(key).collect::<Result<_, _>>().map(Self)
    }
}

/// The byte a terminal sends for a key.
fn key(name: &str) -> Result<u8, String> {
    let refuse = || format!("{name:?} is no key: must be a character, or ctrl- and one of a-z @ [ \\ ] ^ _");
    match (name.strip_prefix("ctrl-").unwrap_or_default().as_bytes(), name.as_bytes()) {
        ([letter @ (b'a'..=b'z' | b'@'..=b'_')], _) => Ok(letter & 0x1f),
        (_, [character @ 0x20..=0x7e]) => Ok(*character),
        _ if name == "DEL" => Ok(0x7f),
        _ => Err(refuse()),
    }
}

/// What a piece of input is.
#[derive(Debug, PartialEq, Eq)]
pub enum Typed {
    /// Bytes to send; none of them while the keys may be under way.
    Bytes(Vec<u8>),
    /// The keys, and what was typed before them.
    Detach(Vec<u8>),
}

/// Looks for the keys in what is typed, piece by piece. What may be their beginning is kept back.
#[derive(Debug)]
pub struct Scanner {
    keys: DetachKeys,
    kept: usize,
}

impl Scanner {
    /// Nothing has been typed yet.
    pub fn new(keys: DetachKeys) -> Self {
        Self { keys, kept: 0 }
    }

    /// The next piece. What comes after the keys is dropped.
    pub fn scan(&mut self, input: &[u8]) -> Typed {
        if self.keys.0.is_empty() {
            return Typed::Bytes(input.to_vec());
        }
        let mut send = Vec::with_capacity(input.len());
        for byte in input {
            self.step(*byte, &mut send);
            if self.kept > 0 && self.kept == self.keys.0.len() {
                self.kept = 0;
                return Typed::Detach(send);
            }
        }
        Typed::Bytes(send)
    }

    /// What was kept back when the input ended: no key can follow it.
    pub fn rest(&mut self) -> Vec<u8> {
        let kept = std::mem::take(&mut self.kept);
        self.keys.0.iter().take(kept).copied().collect()
    }

    /// Of what is kept and the new byte, keeps as much as can still become the keys and lets go of what is before that.
    fn step(&mut self, byte: u8, send: &mut Vec<u8>) {
        if self.kept == 0 && self.keys.0.first() != Some(&byte) {
            send.push(byte);
            return;
        }
        let mut pending = self.rest();
        pending.push(byte);
        while !self.keys.0.starts_with(&pending) {
            send.push(pending.remove(0));
        }
        self.kept = pending.len();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn scanner(keys: &str) -> Scanner {
        Scanner::new(keys.parse().unwrap())
    }

    fn bytes(bytes: &[u8]) -> Typed {
        Typed::Bytes(bytes.to_vec())
    }

    #[test]
    fn keys_are_written_as_docker_does() {
        for (text, expected) in [
            ("ctrl-p,ctrl-q", &b"\x10\x11"[..]),
            ("ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", b"\x00\x1b\x1c\x1d\x1e\x1f"),
            ("a,ctrl-A,~,DEL", b"a\x01~\x7f"),
            ("", b""),
        ] {
            assert_eq!(text.parse(), Ok(DetachKeys(expected.to_vec())), "{text}");
        }
        for text in ["ctrl-", "ctrl-1", "ctrl-pq", ",", "a,", "é", "meta-x", "ctrl-p ctrl-q"] {
            assert!(DetachKeys::from_str(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_keys_are_found_across_pieces() {
        let mut scanner = scanner("ctrl-p,ctrl-q");
        assert_eq!(scanner.scan(b"ls\x10"), bytes(b"ls"));
        assert_eq!(scanner.scan(b"\x11ignored"), Typed::Detach(Vec::new()));
    }

    #[test]
    fn a_beginning_that_goes_on_otherwise_is_sent() {
        let mut scanner = scanner("ctrl-p,ctrl-q");
        assert_eq!(scanner.scan(b"\x10"), bytes(b""));
        assert_eq!(scanner.scan(b"x"), bytes(b"\x10x"));
        assert_eq!(scanner.scan(b"\x10\x10\x11"), Typed::Detach(vec![0x10]), "the second one begins the keys");
        assert_eq!(scanner.scan(b"\x10"), bytes(b""));
        assert_eq!(scanner.rest(), b"\x10");
        assert_eq!(scanner.scan(b"\x11"), bytes(b"\x11"));
    }

    #[test]
    fn no_keys_are_never_found() {
        let mut scanner = scanner("");
        assert_eq!(scanner.scan(b"\x10\x11"), bytes(b"\x10\x11"));
        assert_eq!(scanner.rest(), b"");
    }

    proptest! {
        #[test]
        fn no_keys_panic(text in ".{0,12}|(ctrl-.,?){0,3}") {
            let _ = DetachKeys::from_str(&text);
        }

        /// Against the plain search in everything that was typed.
        #[test]
        fn nothing_is_lost_and_the_first_keys_are_found(
            keys in "[ab]{0,4}",
            pieces in proptest::collection::vec("[abc]{0,5}", 0..8),
        ) {
            let mut scanner = Scanner::new(DetachKeys(keys.clone().into_bytes()));
            let typed = pieces.concat();
            let found = if keys.is_empty() { None } else { typed.find(&keys) };
            let (mut sent, mut detached) = (Vec::new(), false);
            for piece in &pieces {
                match scanner.scan(piece.as_bytes()) {
                    Typed::Bytes(bytes) => sent.extend(bytes),
                    Typed::Detach(bytes) => {
                        sent.extend(bytes);
                        detached = true;
                        break;
                    }
                }
            }
            sent.extend(scanner.rest());
            prop_assert_eq!(detached, found.is_some());
            prop_assert_eq!(sent, &typed.as_bytes()[..found.unwrap_or(typed.len())]);
        }
    }
}
