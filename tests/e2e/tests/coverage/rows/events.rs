//! Events.

use crate::table::{ALL, Message, done, message};

pub const ROWS: &[Message] =
    &[message("ContainerEventResponse", &[done(ALL, &["events::a_life_is_told_in_order_with_statuses"])])];
