// SPDX-License-Identifier: Apache-2.0
#![no_main]

#[allow(dead_code)]
#[path = "../../tests/fuzz/targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let target = targets::TARGETS.iter().find(|target| target.name == "rke2-yaml");
    (target.expect("it is there").run)(input);
});
