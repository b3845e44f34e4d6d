//! What hostile, broken and many clients do to the streaming server: they get an error or a closed connection, the next
//! client is served, memory stays bounded, and nothing of them is left.

mod http;
mod memory;
mod ports;
mod raw;
mod scale;
mod spdy;
mod transfer;
mod vanish;
mod websocket;
mod world;
