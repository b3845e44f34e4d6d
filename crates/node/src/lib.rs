//! cortend: the node daemon.
