// SPDX-License-Identifier: Apache-2.0
#![forbid(unsafe_code)]
//! The program: see the library of the same name.

use std::process::ExitCode;

fn main() -> ExitCode {
    nodeguard::cli::main().into()
}
