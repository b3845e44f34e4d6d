//! Pod networking: network namespaces, the built-in bridge, and CNI.
