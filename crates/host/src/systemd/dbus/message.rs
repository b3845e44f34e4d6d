//! Messages: calls that go out, answers and signals that come in.

use super::Error;
use super::reader::Reader;
use super::writer::Writer;

/// The length of the part of a message that every one has.
pub(super) const FIXED: usize = 16;

/// The most bytes of a message that are taken. What systemd sends unasked is far below.
pub(super) const MAX_MESSAGE: usize = 1 << 20;

/// The most bytes that a message may have by the specification.
const LONGEST: usize = 1 << 27;

/// The kinds of messages.
const CALL: u8 = 1;
const ANSWER: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

/// A method call.
#[derive(Debug)]
pub struct Call<'a> {
    /// Whom it is for; on a connection without a bus that is not looked at.
    pub destination: &'a str,
    /// The object.
    pub path: &'a str,
    /// The interface.
    pub interface: &'a str,
    /// The method.
    pub member: &'static str,
    /// What its arguments are.
    pub signature: &'a str,
    /// The arguments.
    pub body: Writer,
}

impl Call<'_> {
    /// The whole message.
    pub(super) fn encode(self, serial: u32) -> Vec<u8> {
        let body = self.body.finish();
        let mut writer = Writer::default();
        for byte in [b'l', CALL, 0, 1] {
            writer.byte(byte);
        }
        writer.number(body.len() as u32);
        writer.number(serial);
        writer.array(8, |writer| {
            field(writer, 1, "o", |writer| writer.text(self.path));
            field(writer, 2, "s", |writer| writer.text(self.interface));
            field(writer, 3, "s", |writer| writer.text(self.member));
            field(writer, 6, "s", |writer| writer.text(self.destination));
            if !self.signature.is_empty() {
                field(writer, 8, "g", |writer| writer.signature(self.signature));
            }
        });
        writer.align(8);
        let mut message = writer.finish();
        message.extend(body);
        message
    }
}

fn field(writer: &mut Writer, code: u8, signature: &str, value: impl FnOnce(&mut Writer)) {
    writer.align(8);
    writer.byte(code);
    writer.signature(signature);
    value(writer);
}

/// A message that came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// The answer to the call with this serial number.
    Answer {
        /// The call's.
        to: u32,
        /// Who answers: on a bus, the bus says it.
        sender: Option<String>,
        /// Its first value, if that is a text or an object's path; or what went wrong.
        outcome: Result<Option<String>, (String, String)>,
    },
    /// `JobRemoved` of systemd's manager.
    JobRemoved {
        /// Who says so.
        sender: Option<String>,
        /// The job.
        job: String,
        /// How it ended: `done`, `canceled`, `timeout`, `failed`, `dependency`, `skipped` or something newer.
        result: String,
    },
    /// Anything else.
    Other,
}

/// What the header of a message says of it.
#[derive(Debug, Default)]
struct Header<'a> {
    kind: u8,
    interface: Option<&'a str>,
    member: Option<&'a str>,
    error: Option<&'a str>,
    answers: Option<u32>,
    sender: Option<&'a str>,
    signature: &'a str,
}

/// How long the message is altogether that begins like this.
///
/// # Errors
/// If it is no message of D-Bus, or longer than one may be.
pub(super) fn length(fixed: &[u8; FIXED]) -> Result<usize, Error> {
    let mut reader = Reader::new(fixed, is_big_endian(fixed)?);
    for _ in 0..3 {
        reader.byte()?;
    }
    if reader.byte()? != 1 {
        return Err(Error::Malformed("a message is of another version of D-Bus"));
    }
    let (body, _serial, fields) = (reader.number()? as usize, reader.number()?, reader.number()? as usize);
    let length = fields.checked_next_multiple_of(8).and_then(|fields| body.checked_add(fields)?.checked_add(FIXED));
    length.filter(|length| *length <= LONGEST).ok_or(Error::Malformed("a message is too long"))
}

/// Whether the message that begins like this answers nothing: anybody on a bus may send such.
pub(super) fn is_unasked(fixed: &[u8; FIXED]) -> bool {
    let [_, kind, ..] = fixed;
    !matches!(*kind, ANSWER | ERROR)
}

fn is_big_endian(message: &[u8]) -> Result<bool, Error> {
    match message.first() {
        Some(b'l') => Ok(false),
        Some(b'B') => Ok(true),
        _ => Err(Error::Malformed("a message has no byte order")),
    }
}

/// Reads a whole message.
///
/// # Errors
/// If it is not one.
pub(super) fn decode(message: &[u8]) -> Result<Incoming, Error> {
    let big_endian = is_big_endian(message)?;
    let mut reader = Reader::new(message, big_endian);
    let header = header(&mut reader)?;
    reader.align(8)?;
    let body = message.get(reader.position()..).unwrap_or_default();
    let mut body = Reader::new(body, big_endian);
    match header {
        Header { kind: ANSWER, answers: Some(to), sender, signature, .. } => {
            let first = match signature {
                "s" | "o" => Some(body.text()?.to_owned()),
                _ => None,
            };
            Ok(Incoming::Answer { to, sender: sender.map(str::to_owned), outcome: Ok(first) })
        }
        Header { kind: ERROR, answers: Some(to), error: Some(name), sender, signature, .. } => {
            let text = if signature.starts_with('s') { body.text()? } else { "" };
            let outcome = Err((name.to_owned(), text.to_owned()));
            Ok(Incoming::Answer { to, sender: sender.map(str::to_owned), outcome })
        }
        Header {
            kind: SIGNAL,
            sender,
            interface: Some("org.freedesktop.systemd1.Manager"),
            member: Some("JobRemoved"),
            signature: "uoss",
            ..
        } => {
            let (_id, job, _unit, result) = (body.number()?, body.text()?, body.text()?, body.text()?);
            let (sender, job, result) = (sender.map(str::to_owned), job.to_owned(), result.to_owned());
            Ok(Incoming::JobRemoved { sender, job, result })
        }
        _ => Ok(Incoming::Other),
    }
}

fn header<'a>(reader: &mut Reader<'a>) -> Result<Header<'a>, Error> {
    let _order = reader.byte()?;
    let mut header = Header { kind: reader.byte()?, ..Header::default() };
    let (_flags, _version, _body, _serial) = (reader.byte()?, reader.byte()?, reader.number()?, reader.number()?);
    let length = reader.number()? as usize;
    let end = reader.position().saturating_add(length);
    while reader.position() < end {
        reader.align(8)?;
        let (code, signature) = (reader.byte()?, reader.signature()?);
        match (code, signature) {
            (2, "s") => header.interface = Some(reader.text()?),
            (3, "s") => header.member = Some(reader.text()?),
            (4, "s") => header.error = Some(reader.text()?),
            (5, "u") => header.answers = Some(reader.number()?),
            (7, "s") => header.sender = Some(reader.text()?),
            (8, "g") => header.signature = reader.signature()?,
            (_, other) => reader.skip(other)?,
        }
    }
    Ok(header)
}

/// A method of the bus itself.
pub(super) fn bus_call(member: &'static str, argument: Option<&str>) -> Call<'static> {
    const NAME: &str = "org.freedesktop.DBus";
    let mut body = Writer::default();
    if let Some(argument) = argument {
        body.text(argument);
    }
    let signature = if argument.is_some() { "s" } else { "" };
    Call { destination: NAME, path: "/org/freedesktop/DBus", interface: NAME, member, signature, body }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    /// An answer or a signal with these fields and body, as the other end would send it.
    fn message(kind: u8, fields: impl FnOnce(&mut Writer), body: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let (mut writer, mut content) = (Writer::default(), Writer::default());
        body(&mut content);
        let content = content.finish();
        for byte in [b'l', kind, 0, 1] {
            writer.byte(byte);
        }
        writer.number(content.len() as u32);
        writer.number(9);
        writer.array(8, fields);
        writer.align(8);
        let mut message = writer.finish();
        message.extend(content);
        message
    }

    fn check_length(message: &[u8]) {
        assert_eq!(length(message.get(..FIXED).unwrap().try_into().unwrap()).unwrap(), message.len());
    }

    #[test]
    fn a_call_is_what_the_specification_says() {
        let message = bus_call("Hello", None).encode(1);
        let expected = b"l\x01\0\x01\0\0\0\0\x01\0\0\0\x6d\0\0\0\
            \x01\x01o\0\x15\0\0\0/org/freedesktop/DBus\0\0\0\
            \x02\x01s\0\x14\0\0\0org.freedesktop.DBus\0\0\0\0\
            \x03\x01s\0\x05\0\0\0Hello\0\0\0\
            \x06\x01s\0\x14\0\0\0org.freedesktop.DBus\0\0\0\0";
        assert_eq!(message, expected);
        check_length(&message);
    }

    #[test]
    fn answers_errors_and_jobs_are_told_apart() {
        let reply = |writer: &mut Writer| field(writer, 5, "u", |writer| writer.number(7));
        let job = message(
            2,
            |writer| {
                reply(writer);
                field(writer, 8, "g", |writer| writer.signature("o"));
            },
            |writer| writer.text("/job/1"),
        );
        check_length(&job);
        assert_eq!(decode(&job).unwrap(), Incoming::Answer { to: 7, sender: None, outcome: Ok(Some("/job/1".into())) });
        let error = message(
            3,
            |writer| {
                field(writer, 4, "s", |writer| writer.text("a.B"));
                reply(writer);
                field(writer, 8, "g", |writer| writer.signature("s"));
            },
            |writer| writer.text("why"),
        );
        let outcome = Err(("a.B".into(), "why".into()));
        assert_eq!(decode(&error).unwrap(), Incoming::Answer { to: 7, sender: None, outcome });
        let removed = message(
            4,
            |writer| {
                field(writer, 1, "o", |writer| writer.text("/org/freedesktop/systemd1"));
                field(writer, 2, "s", |writer| writer.text("org.freedesktop.systemd1.Manager"));
                field(writer, 3, "s", |writer| writer.text("JobRemoved"));
                field(writer, 7, "s", |writer| writer.text(":1.2"));
                field(writer, 8, "g", |writer| writer.signature("uoss"));
            },
            |writer| {
                writer.number(1);
                ["/job/1", "a.scope", "done"].iter().for_each(|text| writer.text(text));
            },
        );
        let (sender, job, result) = (Some(":1.2".into()), "/job/1".into(), "done".into());
        assert_eq!(decode(&removed).unwrap(), Incoming::JobRemoved { sender, job, result });
        assert_eq!(decode(&bus_call("Hello", None).encode(3)).unwrap(), Incoming::Other);
    }

    #[test]
    fn what_is_too_long_is_not_waited_for() {
        let mut fixed = [0; FIXED];
        fixed[..4].copy_from_slice(&[b'l', 2, 0, 1]);
        fixed[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(length(&fixed).is_err());
        fixed[12..].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(length(&fixed).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn a_broken_message_is_read_or_refused(at in 0..120_usize, byte in any::<u8>(), cut in 0..200_usize) {
            let mut bytes = message(
                3,
                |writer| {
                    field(writer, 4, "s", |writer| writer.text("a.B"));
                    field(writer, 5, "u", |writer| writer.number(7));
                    field(writer, 8, "g", |writer| writer.signature("s"));
                },
                |writer| writer.text("why"),
            );
            if let Some(broken) = bytes.get_mut(at) {
                *broken = byte;
            }
            bytes.truncate(cut);
            let _ = decode(&bytes);
        }
    }
}
