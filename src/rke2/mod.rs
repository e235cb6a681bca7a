// SPDX-License-Identifier: Apache-2.0
//! rke2
