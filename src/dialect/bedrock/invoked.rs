//! The token counts of what was invoked at Bedrock: bodies are the model's own and may tell none,
//! the head of the answer does.
//!
//! Source: Amazon Bedrock API reference, `InvokeModel`, as its runtime answers
//! (`X-Amzn-Bedrock-Input-Token-Count` and `-Output-`).

use crate::dialect::openai::usage::whole_number;
use crate::dialect::openai::{TOKENS_MAX, Usage};

/// Of a prompt.
const INPUT: &[u8] = b"x-amzn-bedrock-input-token-count";
/// Of an answer.
const OUTPUT: &[u8] = b"x-amzn-bedrock-output-token-count";

/// What the fields of an answer tell.
pub fn usage<'h>(fields: impl Iterator<Item = (&'h [u8], &'h [u8])>) -> Option<Usage> {
    let (mut usage, mut is_told) = (Usage::default(), false);
    for (name, value) in fields {
        let place = if name.eq_ignore_ascii_case(INPUT) {
            &mut usage.input
        } else if name.eq_ignore_ascii_case(OUTPUT) {
            &mut usage.output
        } else {
            continue;
        };
        if let Some(tokens) = whole_number(value).filter(|&n| n <= TOKENS_MAX) {
            (*place, is_told) = (tokens, true);
        }
    }
    is_told.then_some(usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: counts are read in any case of the name; what is none tells nothing.
    #[test]
    fn counts_stand_in_the_head() {
        let of = |fields: &[(&'static str, &'static str)]| {
            let fields = fields.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes()));
            usage(fields).map(|usage| (usage.input, usage.output))
        };
        let input = ("X-Amzn-Bedrock-Input-Token-Count", "7");
        let output = ("x-amzn-bedrock-output-token-count", "0");
        assert_eq!(of(&[("date", "9"), input, output]), Some((7, 0)));
        assert_eq!(of(&[input]), Some((7, 0)));
        for bad in ["", "-1", "1.5", "x", "99999999999999999999"] {
            assert_eq!(of(&[(input.0, bad)]), None, "{bad}");
        }
        assert_eq!(of(&[]), None);
    }
}
