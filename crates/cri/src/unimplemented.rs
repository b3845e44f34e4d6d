//! What a server made with grpc-go says of calls that it does not have. Clients tell releases apart by it.

use tonic::Status;

/// A service that the server does not have, by its full name.
pub fn unknown_service(service: &str) -> Status {
    Status::unimplemented(format!("unknown service {service}"))
}

/// A method that a service of the server does not have.
pub fn unknown_method(method: &str, service: &str) -> Status {
    Status::unimplemented(format!("unknown method {method} for service {service}"))
}

/// A path that is no method's.
pub fn malformed(path: &str) -> Status {
    Status::unimplemented(format!("malformed method name: {path:?}"))
}
