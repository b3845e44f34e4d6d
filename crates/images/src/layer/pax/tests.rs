#![allow(clippy::unwrap_used, clippy::panic)]

use proptest::prelude::*;

use super::*;

fn header(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut header = Vec::new();
    records.iter().for_each(|(key, value)| append(&mut header, key.as_bytes(), value));
    header
}

fn read(header: &[u8]) -> Vec<(&str, &[u8])> {
    Records::new(header).map(|record| record.map(|Record { key, value }| (key, value)).unwrap()).collect()
}

#[test]
fn a_record_counts_its_own_length() {
    for size in 0..300 {
        let records = header(&[("k", &vec![b'v'; size])]);
        let told: usize = String::from_utf8_lossy(&records).split(' ').next().unwrap().parse().unwrap();
        assert_eq!(told, records.len(), "{size}");
    }
}

#[test]
fn a_value_may_hold_newlines_and_what_looks_like_records() {
    let value = b"\n\n10 size=9\n17 path=../evil\n=";
    let records = [("comment", &value[..]), ("path", b"a\nb"), ("SCHILY.xattr.user.x", b"\n"), ("empty", b"")];
    let header = header(&records);
    assert_eq!(read(&header), records);
    let extended = Extended::parse(&header).unwrap();
    assert_eq!((extended.path.unwrap(), extended.size), (b"a\nb".to_vec(), None));
    assert_eq!(extended.xattrs, [("user.x".to_owned(), b"\n".to_vec())]);
}

#[test]
fn the_last_record_counts_and_an_empty_one_takes_back() {
    let header = header(&[
        ("path", b"a"),
        ("path", b"b"),
        ("linkpath", b"l"),
        ("linkpath", b""),
        ("size", b"1"),
        ("size", b"2"),
        ("uid", b"7"),
        ("uid", b""),
        ("gid", b"8"),
        ("mtime", b"1.5"),
    ]);
    let Extended { path, link, size, uid, gid, mtime, xattrs } = Extended::parse(&header).unwrap();
    assert_eq!((path.unwrap(), link, size, uid, gid, xattrs), (b"b".to_vec(), None, Some(2), None, Some(8), vec![]));
    assert_eq!(mtime.map(|time| (time.tv_sec, time.tv_nsec)), Some((1, 500_000_000)));
}

#[test]
fn lengths_that_lie_are_refused() {
    for bad in [
        &b"\n"[..],
        b" ",
        b" a=\n",
        b"x",
        b"6",
        b"6 ",
        b"0 a=\n",
        b"1 a=\n",
        b"2 a=\n",
        b"7 a=\n",
        b"6 a=b",
        b"5 a=b\n",
        b"7 a=b\n",
        b"6 a b\n",
        b"5 =b\n",
        b"+6 a=\n",
        b"-6 a=\n",
        b"0x6 a=\n",
        b" 6 a=b\n",
        b"99999999999999999999 a=b\n",
        b"18446744073709551615 a=b\n",
        b"18446744073709551616 a=b\n",
        b"6 a=b\n\0",
        b"6 \xff=b\n",
    ] {
        let shown = String::from_utf8_lossy(bad);
        let mut records = Records::new(bad);
        assert!(records.by_ref().any(|record| record.is_err()), "{shown:?}");
        assert_eq!(records.next(), None, "{shown:?}");
        Extended::parse(bad).unwrap_err();
    }
    assert_eq!(read(b"6 a=b\n5 c=\n"), [("a", &b"b"[..]), ("c", b"")]);
}

#[test]
fn what_a_record_says_must_be() {
    for (key, value, why) in [
        ("size", &b"-1"[..], "size is not a number"),
        ("size", b"1 ", "size is not a number"),
        ("uid", b"x", "uid is not a number"),
        ("gid", b"18446744073709551616", "gid is not a number"),
        ("mtime", b"soon", "mtime is not a time"),
        ("mtime", b"1.-5", "mtime is not a time"),
        ("GNU.sparse.major", b"1", "sparse files in the PAX form are not supported"),
        ("SCHILY.xattr.", b"x", "an extended attribute without a usable name"),
    ] {
        assert_eq!(Extended::parse(&header(&[(key, value)])).unwrap_err(), why, "{key}");
    }
}

proptest! {
    /// What is written is read, whatever is in it.
    #[test]
    fn records_survive(records in prop::collection::vec(("[^=]{1,12}", prop::collection::vec(any::<u8>(), 0..200)), 0..8)) {
        let records: Vec<(&str, &[u8])> = records.iter().map(|(key, value)| (key.as_str(), value.as_slice())).collect();
        let header = header(&records);
        prop_assert_eq!(read(&header), records);
    }

    /// Of any bytes no more is taken than there is, each once and in order.
    #[test]
    fn any_bytes_are_survived(bytes in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..64),
        prop::collection::vec(prop::sample::select(&b"0123456789 =\na"[..]), 0..64),
    ]) {
        let taken: usize = Records::new(&bytes).flatten().map(|record| record.key.len() + record.value.len() + 4).sum();
        prop_assert!(taken <= bytes.len());
        let _ = Extended::parse(&bytes);
    }
}
