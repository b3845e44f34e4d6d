#![allow(clippy::unwrap_used, clippy::panic)]
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A block, compressed as another end would, whatever it says.
fn compressed(plain: &[u8], dictionary: &[u8], flush: FlushCompress) -> Vec<u8> {
    let (mut zlib, mut block) = (Compress::new(Compression::best(), true), Vec::with_capacity(64 * 1024));
    zlib.set_dictionary(dictionary).unwrap();
    zlib.compress_vec(plain, &mut block, flush).unwrap();
    assert_eq!(zlib.total_in(), plain.len() as u64);
    block
}

fn read(plain: &[u8]) -> Result<Headers, BlockError> {
    Decompressor::default().read(&compressed(plain, &dictionary::DICTIONARY, FlushCompress::Sync))
}

fn plain_of(pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut plain = u32::try_from(pairs.len()).unwrap().to_be_bytes().to_vec();
    for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
        plain.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
        plain.extend(*text);
    }
    plain
}

#[test]
fn names_are_found_in_whatever_case() {
    let headers = Headers::from_iter([("StreamType", "stdin"), ("port", "80")]);
    assert_eq!(headers.get("Streamtype"), Some("stdin"));
    assert_eq!(headers.get("PORT"), Some("80"));
    assert_eq!(headers.get("requestid"), None);
    assert_eq!(headers.iter().next(), Some(("streamtype", "stdin")));
}

#[test]
fn several_values_are_separated_by_nul() {
    let headers = read(&plain_of(&[(b"a", b"1\x00\x002"), (b"b", b"")])).unwrap();
    assert_eq!(headers, Headers::from_iter([("a", "1"), ("a", ""), ("a", "2"), ("b", "")]));
    let together = Headers::from_iter([("a", "1"), ("B", "3"), ("a", "2")]);
    let block = Compressor::new().unwrap().write(&together).unwrap();
    let grouped = Headers::from_iter([("a", "1"), ("a", "2"), ("b", "3")]);
    assert_eq!(Decompressor::default().read(&block), Ok(grouped));
}

#[test]
fn what_cannot_be_is_an_error() {
    let short = plain_of(&[(b"name", b"value")]);
    let whole = short.len();
    for (plain, error) in [
        (vec![], BlockError::Length(0)),
        (vec![0, 0, 0], BlockError::Length(3)),
        (vec![0, 0, 0, 1], BlockError::Length(4)),
        (short[..whole - 1].to_vec(), BlockError::Length(whole - 1)),
        ([short.clone(), vec![0]].concat(), BlockError::Length(whole + 1)),
        (vec![0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff], BlockError::Length(8)),
        (vec![0, 0, 0, 129], BlockError::TooMany(129)),
        (vec![0xff; 4], BlockError::TooMany(0xffff_ffff)),
        (plain_of(&[(b"", b"value")]), BlockError::Nameless),
        (plain_of(&[(b"Name", b"value")]), BlockError::Name("Name".into())),
        (plain_of(&[(b"a b", b"value")]), BlockError::Name("a b".into())),
        (plain_of(&[(b"\xff", b"value")]), BlockError::Name("\u{fffd}".into())),
        (plain_of(&[(b"a", b"1"), (b"b", b"1"), (b"a", b"2")]), BlockError::Twice("a".into())),
        (plain_of(&[(b"a", b"\xff")]), BlockError::Value("a".into())),
    ] {
        assert_eq!(read(&plain), Err(error), "{plain:?}");
    }
}

#[test]
fn what_zlib_cannot_read_is_an_error() {
    let plain = plain_of(&[(b"a", b"1")]);
    let read = |block: &[u8]| Decompressor::default().read(block);
    assert!(matches!(read(&[0xff; 20]), Err(BlockError::Zlib(_))));
    assert_eq!(read(&compressed(&plain, b"another", FlushCompress::Sync)), Err(BlockError::Dictionary(0x0bb1_02f2)));
    let ended = compressed(&plain, &dictionary::DICTIONARY, FlushCompress::Finish);
    assert_eq!(read(&ended), Err(BlockError::Ended));
    let whole = compressed(&plain, &dictionary::DICTIONARY, FlushCompress::Sync);
    assert!(matches!(read(&whole[..whole.len() / 2]), Err(BlockError::Length(_))));
    assert_eq!(read(b""), Err(BlockError::Length(0)));
}

#[test]
fn a_block_has_a_limit() {
    // Around the limit, and around the steps in which there is more room.
    for length in [STEP, STEP - 1, BLOCK_LIMIT - STEP, BLOCK_LIMIT - 1, BLOCK_LIMIT] {
        let value = vec![b'a'; length - 13];
        let plain = plain_of(&[(b"n", &value)]);
        assert_eq!(plain.len(), length);
        assert_eq!(read(&plain).unwrap().get("n").map(str::len), Some(value.len()), "{length}");
    }
    for length in [BLOCK_LIMIT + 1, BLOCK_LIMIT + STEP, 16 * 1024 * 1024] {
        assert_eq!(read(&plain_of(&[(b"n", &vec![b'a'; length - 13])])), Err(BlockError::TooLong), "{length}");
    }
}

#[test]
fn a_short_block_does_not_become_long_headers() {
    let values = |count: usize| "\0".repeat(count - 1);
    let long = "n".repeat(NAME_LIMIT);
    let headers = read(&plain_of(&[(long.as_bytes(), values(HEADERS_LIMIT).as_bytes())])).unwrap();
    assert_eq!(headers.iter().count(), HEADERS_LIMIT);
    let many = read(&plain_of(&[(b"n", b"1"), (long.as_bytes(), values(32 * 1024).as_bytes())]));
    assert_eq!(many, Err(BlockError::TooMany(HEADERS_LIMIT + 1)));
    let longer = "n".repeat(NAME_LIMIT + 1);
    assert_eq!(read(&plain_of(&[(longer.as_bytes(), b"")])), Err(BlockError::LongName(NAME_LIMIT + 1)));
}

#[test]
fn what_would_not_be_taken_is_not_sent() {
    let mut compressor = Compressor::new().unwrap();
    assert_eq!(compressor.write(&Headers::from_iter([("", "")])), Err(BlockError::Nameless));
    assert_eq!(compressor.write(&Headers::from_iter([("a", "b".repeat(SEND_LIMIT))])), Err(BlockError::TooLong));
    let many = (0..=HEADERS_LIMIT).map(|number| (number.to_string(), ""));
    assert_eq!(compressor.write(&many.collect()), Err(BlockError::TooMany(129)));
    // And none of that has been written.
    let headers = Headers::from_iter([("a", "b")]);
    let block = compressor.write(&headers).unwrap();
    assert_eq!(Decompressor::default().read(&block), Ok(headers));
}

fn headers() -> impl Strategy<Value = Headers> {
    let value = prop_oneof!["[a-z0-9]{0,20}", "\\PC{0,200}"];
    let values = vec(value, 1..4);
    proptest::collection::btree_map("[a-z0-9_:.-]{1,20}", values, 0..8).prop_map(|map| {
        map.into_iter().flat_map(|(name, values)| values.into_iter().map(move |value| (name.clone(), value))).collect()
    })
}

proptest! {
    // Every case begins zlib streams, which is slow without optimisation.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn blocks_come_out_as_they_went_in(several in vec(headers(), 1..10)) {
        let (mut compressor, mut decompressor) = (Compressor::new().unwrap(), Decompressor::default());
        for headers in several {
            let Ok(block) = compressor.write(&headers) else { continue };
            prop_assert_eq!(decompressor.read(&block), Ok(headers));
        }
    }

    #[test]
    fn no_bytes_break_it(plain in vec(any::<u8>(), 0..500), block in vec(any::<u8>(), 0..500)) {
        let _ = read(&plain);
        let _ = Decompressor::default().read(&block);
        let started = compressed(&plain_of(&[]), &dictionary::DICTIONARY, FlushCompress::Sync);
        let mut decompressor = Decompressor::default();
        prop_assert_eq!(decompressor.read(&started), Ok(Headers::default()));
        let _ = decompressor.read(&block);
    }
}
