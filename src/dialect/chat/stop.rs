//! Why answers end, in the words of the engines that speak Chat.
//!
//! Source: OpenAI API reference, `finish_reason`; Mistral (`model_length`), Z.ai (`sensitive`,
//! `network_error`), `DeepSeek` (`insufficient_system_resource`), Together (`eos`), vLLM
//! (`abort`), `OpenRouter` (`error`); mapping.md, 8.

use crate::dialect::model::{Stop, Trouble};

/// What a `finish_reason` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    /// The answer ended.
    Stop(Stop),
    /// It did not: the provider failed.
    Failed(Trouble),
}

/// Understands `finish_reason`. A word that nobody knows is an end.
pub(super) fn finish(word: &[u8]) -> Finish {
    const WORDS: [(&str, Finish); 18] = [
        ("stop", Finish::Stop(Stop::End)),
        ("length", Finish::Stop(Stop::Length)),
        ("tool_calls", Finish::Stop(Stop::Tool)),
        ("function_call", Finish::Stop(Stop::Tool)),
        ("tool_use", Finish::Stop(Stop::Tool)),
        ("content_filter", Finish::Stop(Stop::Filtered)),
        ("sensitive", Finish::Stop(Stop::Filtered)),
        ("safety", Finish::Stop(Stop::Filtered)),
        ("refusal", Finish::Stop(Stop::Filtered)),
        ("guardrail_intervened", Finish::Stop(Stop::Filtered)),
        ("max_tokens", Finish::Stop(Stop::Length)),
        ("model_length", Finish::Stop(Stop::Context)),
        ("stop_sequence", Finish::Stop(Stop::Sequence)),
        ("error", Finish::Failed(Trouble::Server)),
        ("network_error", Finish::Failed(Trouble::Server)),
        ("abort", Finish::Failed(Trouble::Server)),
        ("timeout", Finish::Failed(Trouble::Timeout)),
        (
            "insufficient_system_resource",
            Finish::Failed(Trouble::Overloaded),
        ),
    ];
    WORDS
        .iter()
        .find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(word))
        .map_or(Finish::Stop(Stop::End), |&(_, finish)| finish)
}

/// What an answer shows of why it ended.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shown {
    /// It has calls that the client is to run.
    pub(super) has_calls: bool,
    /// It has a refusal.
    pub(super) has_refusal: bool,
    /// The engine says at which sequence it stopped.
    pub(super) has_sequence: bool,
}

/// Why an answer ended: what it shows goes before the word that was said, since engines say
/// `stop` after calls, and `tool_calls` after none.
pub(super) fn judge(said: Option<Stop>, shown: Shown) -> Stop {
    match said.unwrap_or_default() {
        Stop::End | Stop::Tool | Stop::Sequence if shown.has_calls => Stop::Tool,
        Stop::End | Stop::Tool if shown.has_refusal => Stop::Filtered,
        Stop::End | Stop::Tool if shown.has_sequence => Stop::Sequence,
        Stop::Tool => Stop::End,
        other => other,
    }
}

/// The `finish_reason` of an answer.
pub(super) const fn word(stop: Stop, has_calls: bool) -> &'static str {
    match stop {
        Stop::End | Stop::Tool if has_calls => "tool_calls",
        Stop::End | Stop::Tool | Stop::Sequence | Stop::Pause | Stop::Malformed => "stop",
        Stop::Length | Stop::Context => "length",
        Stop::Filtered => "content_filter",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: whether a tool is to be run is told by the calls, not by the word; a limit goes
    /// before both.
    #[test]
    fn calls_tell_whether_a_tool_is_to_be_run() {
        let calls = Shown {
            has_calls: true,
            ..Shown::default()
        };
        let none = Shown::default();
        for (word, shown, want) in [
            ("stop", calls, Stop::Tool),
            ("tool_calls", none, Stop::End),
            ("tool_calls", calls, Stop::Tool),
            ("length", calls, Stop::Length),
            ("content_filter", none, Stop::Filtered),
            ("never heard", none, Stop::End),
        ] {
            let Finish::Stop(said) = finish(word.as_bytes()) else {
                panic!("{word}");
            };
            assert_eq!(judge(Some(said), shown), want, "{word}");
        }
        assert_eq!(judge(None, calls), Stop::Tool);
    }

    /// Goal: what is written reads as what it was, as far as Chat has words for it.
    #[test]
    fn words_read_back() {
        for (stop, calls) in [
            (Stop::End, false),
            (Stop::Tool, true),
            (Stop::Length, false),
            (Stop::Length, true),
            (Stop::Filtered, false),
        ] {
            let shown = Shown {
                has_calls: calls,
                ..Shown::default()
            };
            let Finish::Stop(said) = finish(word(stop, calls).as_bytes()) else {
                panic!("{stop:?}");
            };
            assert_eq!(judge(Some(said), shown), stop);
        }
    }

    /// Goal: a failure is no end.
    #[test]
    fn a_failure_is_no_end() {
        assert_eq!(finish(b"error"), Finish::Failed(Trouble::Server));
        assert_eq!(finish(b"NETWORK_ERROR"), Finish::Failed(Trouble::Server));
    }
}
