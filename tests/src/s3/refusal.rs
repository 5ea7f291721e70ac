//! S3's responses to requests that it refuses, as faults for `rig::HttpProxy`.

use rig::Fault;

/// Returns S3's body for an error code.
macro_rules! error {
    ($code:literal) => {
        concat!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>",
            $code,
            "</Code><Message>injected by the test</Message><RequestId>TESTED</RequestId><HostId>TESTED</HostId></Error>"
        )
    };
}

/// The response when the request rate is too high: 503.
pub const SLOW_DOWN: Fault = Fault::Respond(503, error!("SlowDown"));
/// The response to an internal failure: 500.
pub const INTERNAL_ERROR: Fault = Fault::Respond(500, error!("InternalError"));
/// The response without permission: 403.
pub const ACCESS_DENIED: Fault = Fault::Respond(403, error!("AccessDenied"));
