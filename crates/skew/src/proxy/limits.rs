//! What one side may make the proxy keep.

/// How many bytes of a stream may be under way, in bytes.
pub(super) const STREAM_WINDOW: u32 = 256 * 1024;

/// How many of all streams of a connection: so many that a stream nobody reads does not hold up the others.
pub(super) const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// How many streams a client may have at once.
pub(super) const STREAMS: u32 = 250;

/// How large a request's headers may be, in bytes as HTTP/2 counts them.
pub(super) const REQUEST_HEADERS: u32 = 64 * 1024;

/// How large a response's headers and trailers may be: a status carries a runtime's error texts.
pub(super) const RESPONSE_HEADERS: u32 = 1024 * 1024;
