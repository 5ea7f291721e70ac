//! Any text as an event of the function `etl`: it is parsed or rejected, and each new object has a valid address.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|event: &str| {
    for object in etl::function::new_objects(event) {
        assert!(!object.bucket.is_empty() && !object.bucket.contains('/'));
    }
});
