//! The Container Runtime Interface: messages, services and their version history. No daemon code.
