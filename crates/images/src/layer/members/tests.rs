#![allow(clippy::unwrap_used, clippy::panic)]

use tar::GnuExtSparseHeader;

use super::*;
use crate::layer::pax;

/// A block with a name and a size, in a form without magic.
fn header(kind: u8, name: &[u8], size: u64) -> Header {
    let mut header = Header::new_old();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.as_old_mut().linkflag = [kind];
    header.set_size(size);
    header.set_cksum();
    header
}

fn member(kind: u8, name: &[u8], content: &[u8]) -> Vec<u8> {
    let mut bytes = header(kind, name, content.len() as u64).as_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn extended(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut content = Vec::new();
    records.iter().for_each(|(key, value)| pax::append(&mut content, key.as_bytes(), value));
    member(b'x', b"PaxHeader", &content)
}

/// Names and contents of all members, or what is wrong.
fn read(archive: &[u8]) -> Result<Vec<(String, String)>, String> {
    let mut members = Members::new(archive);
    let mut all = Vec::new();
    while let Some(member) = members.next().map_err(|error| error.to_string())? {
        let mut content = String::new();
        members.read_to_string(&mut content).unwrap();
        assert_eq!(content.len() as u64, member.size);
        all.push((String::from_utf8(member.path).unwrap(), content));
    }
    Ok(all)
}

fn told(pairs: &[(&str, &str)]) -> Result<Vec<(String, String)>, String> {
    Ok(pairs.iter().map(|(name, content)| ((*name).to_owned(), (*content).to_owned())).collect())
}

#[test]
fn what_a_value_holds_is_not_a_record() {
    let forged = extended(&[("comment", b"\n10 size=9\n15 path=evil\n"), ("path", b"good\nname")]);
    let archive = [forged, member(b'0', b"short", b"content"), member(b'0', b"next", b"1")].concat();
    assert_eq!(read(&archive), told(&[("good\nname", "content"), ("next", "1")]));
    let sized = extended(&[("SCHILY.xattr.user.a", b"\n"), ("size", b"3")]);
    let archive = [sized, member(b'0', b"a", b"").clone(), b"abc".to_vec(), vec![0; 509]].concat();
    assert_eq!(read(&archive), told(&[("a", "abc")]));
}

#[test]
fn long_names_end_at_a_nul_and_come_before_those_of_extended_headers() {
    let archive = [
        member(b'L', b"././@LongLink", b"long\0\0"),
        extended(&[("path", b"extended")]),
        member(b'0', b"short", b"1"),
        extended(&[("path", b"extended"), ("path", b"")]),
        member(b'0', b"own", b"2"),
    ];
    assert_eq!(read(&archive.concat()), told(&[("long", "1"), ("own", "2")]));
    let twice = [extended(&[("path", b"a")]), extended(&[("path", b"b")]), member(b'0', b"c", b"")].concat();
    assert!(read(&twice).unwrap_err().contains("two headers of one kind"));
    assert!(read(&extended(&[("path", b"a")])).unwrap_err().contains("describes what comes next"));
}

#[test]
fn only_files_have_content() {
    for kind in b"123456" {
        let mut named = header(*kind, b"entry", 600);
        named.as_old_mut().linkname[0] = b'l';
        named.set_cksum();
        let archive = [extended(&[("size", b"700")]), named.as_bytes().to_vec(), member(b'0', b"file", b"x")].concat();
        assert_eq!(read(&archive), told(&[("entry", ""), ("file", "x")]), "{}", char::from(*kind));
    }
}

#[test]
fn content_that_is_left_is_passed_over() {
    let archive = [member(b'0', b"a", &[b'x'; 5000]), member(b'g', b"g", b"passed over"), member(b'0', b"b", b"y")];
    let archive = archive.concat();
    let mut members = Members::new(archive.as_slice());
    let mut names = Vec::new();
    while let Some(member) = members.next().unwrap() {
        let _ = members.read(&mut [0; 7]).unwrap();
        names.push(member.path);
    }
    assert_eq!(names, [b"a", b"g", b"b"]);
}

#[test]
fn an_archive_ends_with_its_bytes_or_with_zeros_and_not_in_between() {
    let whole = [member(b'0', b"a", &[b'x'; 600]), vec![0; 512]].concat();
    assert_eq!(read(&whole).unwrap().len(), 1);
    assert_eq!(read(&[whole.clone(), b"anything".to_vec()].concat()).unwrap().len(), 1);
    assert_eq!(read(&whole[..1536]).unwrap().len(), 1);
    for cut in [1, 511, 1537, 2000] {
        assert!(read(&whole[..cut]).unwrap_err().contains("within a header"), "{cut}");
    }
    let mut members = Members::new(&whole[..1400]);
    members.next().unwrap();
    assert!(members.next().err().unwrap().to_string().contains("within an entry"));
    let mut wrong = whole;
    wrong[0] ^= 1;
    assert!(read(&wrong).unwrap_err().contains("checksum"));
    assert!(read(&member(b'x', b"x", b"6 a=b\n")[..515]).unwrap_err().contains("within a header"));
    let huge = extended(&[("size", b"18446744073709551615")]);
    assert!(read(&[huge, member(b'0', b"a", b"")].concat()).unwrap_err().contains("longer than can be"));
}

/// A sparse file of `stored` bytes with these pieces, four of them in its header and the others in blocks after it.
fn sparse(pieces: &[(u64, u64)], real: u64, stored: u64) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNUSparse);
    header.set_size(stored);
    let gnu = header.as_gnu_mut().unwrap();
    gnu.name[0] = b's';
    gnu.set_real_size(real);
    let (first, rest) = pieces.split_at(pieces.len().min(4));
    for (place, (offset, length)) in gnu.sparse.iter_mut().zip(first) {
        place.set_offset(*offset);
        place.set_length(*length);
    }
    gnu.set_is_extended(!rest.is_empty());
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    let mut chunks = rest.chunks(21).peekable();
    while let Some(chunk) = chunks.next() {
        let mut block = GnuExtSparseHeader::new();
        for (place, (offset, length)) in block.sparse.iter_mut().zip(chunk) {
            place.set_offset(*offset);
            place.set_length(*length);
        }
        block.set_is_extended(chunks.peek().is_some());
        bytes.extend_from_slice(block.as_bytes());
    }
    bytes.resize(bytes.len() + usize::try_from(stored.next_multiple_of(512)).unwrap(), b'd');
    bytes
}

#[test]
fn a_sparse_file_is_its_pieces_and_the_holes_between() {
    let pieces: Vec<_> = (0..30).map(|number| (number * 1024, 512)).collect();
    let archive = [sparse(&pieces, 29 * 1024 + 512, 30 * 512), member(b'0', b"next", b"x")].concat();
    let all = read(&archive).unwrap();
    let expected: String =
        (0..59).map(|block| if block % 2 == 0 { "d".repeat(512) } else { "\0".repeat(512) }).collect();
    assert_eq!((all[0].1 == expected, &all[1].1), (true, &"x".to_owned()));
}

#[test]
fn a_sparse_file_that_contradicts_itself_is_refused() {
    for (pieces, real, stored, why) in [
        (&[(0, 512), (100, 512)][..], 612, 1024, "overlap"),
        (&[(0, 100), (200, 512)], 712, 612, "whole blocks"),
        (&[(0, 512)], 513, 512, "last piece ends"),
        (&[(0, 512)], 512, 1024, "another amount"),
        (&[(0, 512)], 512, 100, "another amount"),
        (&[(u64::MAX, 512)], 512, 512, "longer than can be"),
    ] {
        assert!(read(&sparse(pieces, real, stored)).unwrap_err().contains(why), "{why}");
    }
    let mut cut = sparse(&[(0, 512); 6], 512, 512);
    cut.truncate(700);
    assert!(read(&cut).is_err());
}
