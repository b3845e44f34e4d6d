//! WebSocket (RFC 6455) as Kubernetes clients speak it: the channels of `channel.k8s.io`, and a tunnel for SPDY.
