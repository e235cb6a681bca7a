// SPDX-License-Identifier: Apache-2.0
//! Inputs made from other inputs.

use crate::splitmix::Random;

pub struct Mutator {
    random: Random,
    /// What means something to the target.
    words: &'static [&'static str],
}

/// Bytes that mean something to most of them.
const BYTES: &[u8] = b"\n\r\t :=-#;,.+*/\\'\"[]{}()&|<>!%@`~$?0179axyz_\0\xff\xc3\xa9\x1b\x7f";

impl Mutator {
    pub fn new(seed: u64, words: &'static [&'static str]) -> Self {
        Self { random: Random::new(seed), words }
    }

    /// One of the inputs with a few changes.
    pub fn mutated(&mut self, inputs: &[Vec<u8>], longest: usize) -> Vec<u8> {
        let mut out = inputs[self.random.below(inputs.len())].clone();
        for _ in 0..=self.random.below(6) {
            self.change(&mut out, inputs);
        }
        out.truncate(longest);
        out
    }

    fn range(&mut self, len: usize) -> std::ops::Range<usize> {
        let start = self.random.below(len + 1);
        let most = (len - start).min(1 << self.random.below(9));
        start..start + self.random.below(most + 1)
    }

    fn change(&mut self, out: &mut Vec<u8>, inputs: &[Vec<u8>]) {
        let at = self.random.below(out.len() + 1);
        match self.random.below(10) {
            0..=2 => {
                let word = self.words[self.random.below(self.words.len())];
                out.splice(at..at, word.bytes());
            }
            3 => {
                let byte = BYTES[self.random.below(BYTES.len())];
                out.insert(at, byte);
            }
            4 if at < out.len() => out[at] = BYTES[self.random.below(BYTES.len())],
            5 if at < out.len() => out[at] ^= 1 << self.random.below(8),
            6 => {
                let range = self.range(out.len());
                out.drain(range);
            }
            7 => {
                let range = self.range(out.len());
                let piece = out[range].to_vec();
                for _ in 0..=self.random.below(8) {
                    out.splice(at..at, piece.iter().copied());
                }
            }
            _ => {
                let other = &inputs[self.random.below(inputs.len())];
                let piece = other[self.range(other.len())].to_vec();
                let end = at + self.random.below(out.len() - at + 1);
                out.splice(at..end, piece);
            }
        }
    }
}
