//! The version skew tools in front of the real daemon.

mod matrix;
mod probe;
mod proxied;
mod proxy;
mod proxy_crictl;
mod proxy_stages;
mod proxy_versions;
