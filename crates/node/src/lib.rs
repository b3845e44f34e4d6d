//! `cortend`: the node daemon. [`service`] is the index: every RPC a line.

pub mod check;
pub mod config;
pub mod container;
pub mod error;
pub mod events;
pub mod id;
pub mod monitor;
pub mod network;
pub mod node;
pub mod operation;
pub mod pod;
pub mod record;
pub mod recovery;
pub mod registry;
pub mod resolv;
pub mod resources;
pub mod rpc;
pub mod seccomp;
pub mod security;
pub mod server;
pub mod service;
pub mod spec;
pub mod stats;
pub mod streaming;
pub mod timeline;
pub mod user;
