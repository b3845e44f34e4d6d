#![allow(clippy::unwrap_used, clippy::panic)]

use std::{fs, io, io::Write, path::Path};

use proptest::prelude::*;

use super::*;

const T: &str = "2026-01-31T12:00:00.123456789Z";

fn line(stream: &str, tag: &str, content: &str) -> String {
    format!("{T} {stream} {tag} {content}")
}

fn printed(view: View, lines: &[String]) -> String {
    let mut printer = Printer::new(view);
    let pieces = lines.iter().filter_map(|line| printer.line(line.as_bytes()).unwrap());
    String::from_utf8(pieces.flat_map(|(_, bytes)| bytes).collect()).unwrap()
}

#[test]
fn an_entry_is_read() {
    let line = line("stderr", "F", "hello  world ");
    let entry = Entry::parse(line.as_bytes()).unwrap();
    assert_eq!((entry.stream, entry.partial, entry.content), (Stream::Stderr, false, &b"hello  world "[..]));
    assert_eq!(entry.time.as_second(), 1_769_860_800);
    assert_eq!(Entry::parse(format!("{T} stdout F").as_bytes()).unwrap().content, b"");
    assert_eq!(Entry::parse(format!("{T} stdout P:x:y z").as_bytes()).unwrap().content, b"z");
    assert!(Entry::parse(b"2026-01-31T13:00:00+01:00 stdout F x").is_ok(), "runtimes write local offsets too");
}

#[test]
fn what_no_runtime_writes_is_refused() {
    for (line, error) in [
        ("", Error::Shape),
        ("one two", Error::Shape),
        ("now stdout F x", Error::Time),
        ("2026-01-31T12:00:00Z stdin F x", Error::Stream),
        ("2026-01-31T12:00:00Z stdout Q x", Error::Tag),
        ("{\"log\":\"docker\",\"stream\":\"stdout\"}", Error::Shape),
    ] {
        assert_eq!(Entry::parse(line.as_bytes()), Err(error), "{line:?}");
    }
    assert_eq!(Entry::parse(&vec![b'x'; MAX_LINE + 1]), Err(Error::Length));
}

#[test]
fn partial_entries_become_one_line() {
    let lines = [line("stdout", "P", "a"), line("stdout", "P", "b"), line("stdout", "F", "c"), line("stdout", "F", "")];
    assert_eq!(printed(View::default(), &lines), "abc\n\n");
    let stamped = printed(View { timestamps: true, since: None }, &lines);
    assert_eq!(stamped, format!("{T} abc\n{T} \n"), "the time is there once per line");
}

#[test]
fn since_leaves_older_lines_out() {
    let since = |text: &str| View { timestamps: false, since: Some(text.parse().unwrap()) };
    let lines = [line("stdout", "F", "x")];
    assert_eq!(printed(since("2026-01-31T12:00:01Z"), &lines), "");
    assert_eq!(printed(since("2026-01-31T12:00:00Z"), &lines), "x\n");
}

fn last(text: &str, count: usize) -> String {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    text[usize::try_from(start_of_last(&mut file, count).unwrap()).unwrap()..].to_owned()
}

#[test]
fn the_last_lines() {
    assert_eq!(last("a\nb\nc\n", 2), "b\nc\n");
    assert_eq!(last("a\nb\nc", 2), "b\nc");
    assert_eq!(last("a\nb\n", 9), "a\nb\n");
    assert_eq!(last("a\nb\n", 0), "");
    assert_eq!(last("", 3), "");
    let long = "x".repeat(200_000);
    assert_eq!(last(&format!("a\n{long}\nb\n"), 2), format!("{long}\nb\n"));
}

fn drain(follower: &mut Follower) -> Vec<String> {
    let mut lines = Vec::new();
    let mut each = |line: &[u8]| {
        lines.push(String::from_utf8_lossy(line).into_owned());
        io::Result::Ok(())
    };
    while follower.read(&mut each).unwrap() == Progress::Lines {}
    lines
}

fn append(path: &Path, text: &str) {
    fs::OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

#[test]
fn a_growing_file_is_read_to_its_last_complete_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0.log");
    append(&path, "one\ntw");
    let mut follower = Follower::open(&path, None).unwrap();
    assert_eq!(drain(&mut follower), ["one"]);
    append(&path, "o\nthree");
    assert_eq!(drain(&mut follower), ["two"]);
    let mut rest = Vec::new();
    follower
        .finish(&mut |line: &[u8]| -> io::Result<()> {
            rest.push(line.to_vec());
            Ok(())
        })
        .unwrap();
    assert_eq!(rest, [b"three"]);
}

#[test]
fn rotation_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (path, old) = (dir.path().join("0.log"), dir.path().join("0.log.1"));
    append(&path, "one\n");
    let mut follower = Follower::open(&path, None).unwrap();
    assert_eq!(drain(&mut follower), ["one"]);
    append(&path, "two\n");
    fs::rename(&path, &old).unwrap();
    assert_eq!(drain(&mut follower), ["two"], "there is no new file yet");
    append(&old, "three\n");
    append(&path, "four\n");
    assert_eq!(drain(&mut follower), ["three", "four"]);
}

#[test]
fn a_truncated_file_is_read_from_its_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0.log");
    append(&path, "one\ntwo\n");
    let mut follower = Follower::open(&path, Some(1)).unwrap();
    assert_eq!(drain(&mut follower), ["two"]);
    fs::write(&path, "new\n").unwrap();
    assert_eq!(drain(&mut follower), ["new"]);
}

#[test]
fn a_line_without_end_is_not_kept_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0.log");
    append(&path, &"x".repeat(3 * MAX_LINE));
    let mut follower = Follower::open(&path, None).unwrap();
    let lines = drain(&mut follower);
    assert!(!lines.is_empty() && lines.iter().all(|line| line.len() <= MAX_LINE + 64 * 1024));
}

proptest! {
    #[test]
    fn no_line_panics(line in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Printer::new(View { timestamps: true, since: None }).line(&line);
    }

    #[test]
    fn content_comes_through_unchanged(content in prop::collection::vec(any::<u8>(), 0..200), partial in any::<bool>()) {
        let tag = if partial { "P" } else { "F" };
        let mut line = format!("{T} stdout {tag} ").into_bytes();
        line.extend_from_slice(&content);
        let entry = Entry::parse(&line).unwrap();
        prop_assert_eq!((entry.content, entry.partial), (content.as_slice(), partial));
    }

    #[test]
    fn tail_agrees_with_counting_lines(text in "[a\n]{0,60}", count in 0usize..8) {
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let expected = lines[lines.len().saturating_sub(count)..].concat();
        prop_assert_eq!(last(&text, count), expected);
    }
}
