//! Any JSON as an event of an endpoint's function: it gets a reply with a valid status.

#![no_main]

use std::panic;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use serde_json::value::RawValue;

fuzz_target!(
    // The adapter catches panics of libraries. libfuzzer-sys would abort at each of them; it still sees those that leave
    // this function.
    init: panic::set_hook(Box::new(|_| {})),
    |event: &str| {
        let Ok(event) = RawValue::from_string(event.to_owned()) else { return };
        let mut replying = pin!(lambda_adapter::reply_not_found(event));
        let Poll::Ready(reply) = replying.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("it waits for something");
        };
        let reply: Value = serde_json::from_str(reply.unwrap().get()).unwrap();
        let status = reply["statusCode"].as_u64().unwrap();
        assert!(matches!(status, 204 | 400 | 404), "{status}");
        assert!(reply["body"].is_string() || reply["body"].is_null());
    }
);
