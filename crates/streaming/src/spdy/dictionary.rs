//! The dictionary that header blocks are compressed with: SPDY/3.1, 2.6.10.1.
//!
//! It is laid out like a block, so that names are found with the lengths before them: words, each after its length in four
//! bytes, and then text.

/// The dictionary's Adler-32, by which zlib names it.
pub(super) const CHECKSUM: u32 = 0xe3c6_a7c2;

/// The dictionary.
pub(super) const DICTIONARY: [u8; LENGTH] = lay_out();

#[rustfmt::skip]
const WORDS: [&str; 65] = [
    "options", "head", "post", "put", "delete", "trace", "accept", "accept-charset", "accept-encoding",
    "accept-language", "accept-ranges", "age", "allow", "authorization", "cache-control", "connection",
    "content-base", "content-encoding", "content-language", "content-length", "content-location", "content-md5",
    "content-range", "content-type", "date", "etag", "expect", "expires", "from", "host", "if-match",
    "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "last-modified", "location",
    "max-forwards", "pragma", "proxy-authenticate", "proxy-authorization", "range", "referer", "retry-after",
    "server", "te", "trailer", "transfer-encoding", "upgrade", "user-agent", "vary", "via", "warning",
    "www-authenticate", "method", "get", "status", "200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie",
    "keep-alive", "origin",
];

const TEXT: &str = concat!(
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505",
    "203 Non-Authoritative Information",
    "204 No Content",
    "301 Moved Permanently",
    "400 Bad Request",
    "401 Unauthorized",
    "403 Forbidden",
    "404 Not Found",
    "500 Internal Server Error",
    "501 Not Implemented",
    "503 Service Unavailable",
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT",
    "chunked,",
    "text/html,",
    "image/png,image/jpg,image/gif,",
    "application/xml,application/xhtml+xml,",
    "text/plain,text/javascript,",
    "publicprivatemax-age=",
    "gzip,deflate,sdch",
    "charset=utf-8",
    "charset=iso-8859-1,utf-,*,enq=0.",
);

const LENGTH: usize = {
    let mut length = TEXT.len();
    let mut word = 0;
    while word < WORDS.len() {
        length += 4 + WORDS[word].len();
        word += 1;
    }
    length
};

const fn lay_out() -> [u8; LENGTH] {
    let mut dictionary = [0; LENGTH];
    let (mut at, mut word) = (0, 0);
    while word < WORDS.len() {
        // No word has 256 letters.
        dictionary[at + 3] = WORDS[word].len() as u8;
        at = copy(WORDS[word].as_bytes(), &mut dictionary, at + 4);
        word += 1;
    }
    copy(TEXT.as_bytes(), &mut dictionary, at);
    dictionary
}

/// Returns where the copy ends.
const fn copy(from: &[u8], to: &mut [u8; LENGTH], at: usize) -> usize {
    let mut letter = 0;
    while letter < from.len() {
        to[at + letter] = from[letter];
        letter += 1;
    }
    at + from.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_one_that_the_specification_names() {
        let (mut a, mut b) = (1_u32, 0_u32);
        for byte in DICTIONARY {
            a = (a + u32::from(byte)) % 65521;
            b = (b + a) % 65521;
        }
        assert_eq!(b << 16 | a, CHECKSUM);
        assert_eq!(DICTIONARY.len(), 1423);
    }
}
