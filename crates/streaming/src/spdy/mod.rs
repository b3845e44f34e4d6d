//! SPDY/3.1 as Kubernetes clients speak it: streams with headers over one connection, without flow control.
