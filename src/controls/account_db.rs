// SPDX-License-Identifier: Apache-2.0
//! /etc/passwd, /etc/group and /etc/shadow, read by hand.
