//! Of bodies in the dialects of `OpenAI`.

use super::Shape::{
    Any, Empty, Flag, Kinds, Limit, List, Messages, Natural, Number, Object, Skip, Text, TextOr,
    Url, WordsOr,
};
use super::{BREAKPOINT, MARK, Members, ROLE, Shape, TYPE, by_role, by_type};

pub(super) const CHAT: Shape = Object(&[
    ("model", Skip),
    ("fallbacks", Skip),
    ("cache", Skip),
    ("stream", Skip),
    ("stream_options", Skip),
    ("user", Skip),
    ("safety_identifier", Skip),
    ("metadata", Skip),
    ("store", Skip),
    ("prompt_cache_key", Skip),
    ("prompt_cache_retention", Skip),
    ("messages", CHAT_MESSAGES),
    ("temperature", Number),
    ("top_p", Number),
    ("top_k", Natural),
    ("frequency_penalty", Number),
    ("presence_penalty", Number),
    ("seed", Number),
    ("n", Number),
    ("max_tokens", Limit),
    ("max_completion_tokens", Limit),
    ("logprobs", Flag),
    ("logit_bias", Any),
    ("stop", TextOr(&Text)),
    ("tools", List(&CHAT_TOOL)),
    ("tool_choice", CHAT_CHOICE),
    ("parallel_tool_calls", Flag),
    ("response_format", CHAT_FORMAT),
    ("reasoning_effort", Text),
    ("service_tier", Text),
]);
const CHAT_MESSAGES: Shape = Messages {
    lone: "system",
    each: &by_role(&[
        (
            "system",
            Object(&[ROLE, ("content", TextOr(&CHAT_PART)), ("name", Text)]),
        ),
        (
            "user",
            Object(&[ROLE, ("content", TextOr(&CHAT_PART)), ("name", Text)]),
        ),
        (
            "assistant",
            Object(&[
                ROLE,
                ("content", TextOr(&CHAT_PART)),
                ("name", Text),
                ("refusal", Text),
                ("tool_calls", List(&CHAT_CALL)),
            ]),
        ),
        (
            "tool",
            Object(&[
                ROLE,
                ("tool_call_id", Text),
                ("content", TextOr(&CHAT_PART)),
                ("name", Text),
                MARK,
            ]),
        ),
    ]),
};
const CHAT_PART: Shape = by_type(&[
    ("text", Object(&[TYPE, ("text", Text), MARK, BREAKPOINT])),
    (
        "image_url",
        Object(&[
            TYPE,
            ("image_url", Object(&[("url", Url), ("detail", Text)])),
            MARK,
            BREAKPOINT,
        ]),
    ),
    (
        "input_audio",
        Object(&[
            TYPE,
            ("input_audio", Object(&[("data", Text), ("format", Text)])),
        ]),
    ),
    (
        "file",
        Object(&[
            TYPE,
            ("file", Object(&[("file_data", Url), ("filename", Text)])),
        ]),
    ),
]);
const CHAT_CALL: Shape = by_type(&[(
    "function",
    Object(&[
        TYPE,
        ("id", Text),
        ("function", Object(&[("name", Text), ("arguments", Text)])),
    ]),
)]);
const CHAT_TOOL: Shape = by_type(&[
    (
        "function",
        Object(&[TYPE, ("function", Object(FUNCTION)), MARK, BREAKPOINT]),
    ),
    (
        "custom",
        Object(&[
            TYPE,
            (
                "custom",
                Object(&[("name", Text), ("description", Text), ("format", Any)]),
            ),
        ]),
    ),
]);
const FUNCTION: Members = &[
    ("name", Text),
    ("description", Text),
    ("parameters", Any),
    ("strict", Flag),
];
const CHAT_CHOICE: Shape = WordsOr(
    &["none", "auto", "required"],
    &by_type(&[(
        "function",
        Object(&[TYPE, ("function", Object(&[("name", Text)]))]),
    )]),
);
const CHAT_FORMAT: Shape = by_type(&[
    ("text", Object(&[TYPE])),
    ("json_object", Object(&[TYPE])),
    (
        "json_schema",
        Object(&[TYPE, ("json_schema", Object(SCHEMA))]),
    ),
]);
const SCHEMA: Members = &[
    ("name", Text),
    ("description", Text),
    ("schema", Any),
    ("strict", Flag),
];

pub(super) const COMPLETIONS: Shape = Object(&[
    ("model", Skip),
    ("fallbacks", Skip),
    ("cache", Skip),
    ("stream", Skip),
    ("stream_options", Skip),
    ("user", Skip),
    ("prompt", Text),
    ("max_tokens", Limit),
    ("temperature", Number),
    ("top_p", Number),
    ("frequency_penalty", Number),
    ("presence_penalty", Number),
    ("seed", Number),
    ("stop", TextOr(&Text)),
]);

/// A key is made of the rest as it stands: nothing of it is carried.
pub(super) const EMBEDDINGS: Shape = Object(&[
    ("model", Skip),
    ("fallbacks", Skip),
    ("cache", Skip),
    ("user", Skip),
]);

pub(super) const RESPONSES: Shape = Object(&[
    ("model", Skip),
    ("fallbacks", Skip),
    ("cache", Skip),
    ("stream", Skip),
    ("stream_options", Skip),
    ("user", Skip),
    ("safety_identifier", Skip),
    ("metadata", Skip),
    ("store", Skip),
    ("prompt_cache_key", Skip),
    ("prompt_cache_retention", Skip),
    ("instructions", Text),
    ("input", TextOr(&RESPONSES_ITEM)),
    ("max_output_tokens", Limit),
    ("temperature", Number),
    ("top_p", Number),
    ("parallel_tool_calls", Flag),
    ("service_tier", Text),
    (
        "tools",
        List(&by_type(&[(
            "function",
            Object(&[
                TYPE,
                ("name", Text),
                ("description", Text),
                ("parameters", Any),
                ("strict", Flag),
            ]),
        )])),
    ),
    (
        "tool_choice",
        WordsOr(
            &["none", "auto", "required"],
            &by_type(&[("function", Object(&[TYPE, ("name", Text)]))]),
        ),
    ),
    (
        "text",
        Object(&[(
            "format",
            by_type(&[
                ("text", Object(&[TYPE])),
                ("json_object", Object(&[TYPE])),
                (
                    "json_schema",
                    Object(&[
                        TYPE,
                        ("name", Text),
                        ("description", Text),
                        ("schema", Any),
                        ("strict", Flag),
                    ]),
                ),
            ]),
        )]),
    ),
    ("reasoning", Object(&[("effort", Text)])),
]);
const RESPONSES_ITEM: Shape = Kinds {
    by: "type",
    of: &[
        (
            "function_call",
            Object(&[TYPE, ("call_id", Text), ("name", Text), ("arguments", Text)]),
        ),
        (
            "function_call_output",
            Object(&[TYPE, ("call_id", Text), ("output", TextOr(&RESPONSES_PART))]),
        ),
        (
            "message",
            by_role(&[
                (
                    "user",
                    Object(&[TYPE, ROLE, ("content", TextOr(&RESPONSES_PART))]),
                ),
                (
                    "assistant",
                    Object(&[TYPE, ROLE, ("content", TextOr(&RESPONSES_PART))]),
                ),
            ]),
        ),
    ],
    is_last_default: true,
};
const RESPONSES_PART: Shape = by_type(&[
    ("input_text", Object(&[TYPE, ("text", Text), BREAKPOINT])),
    (
        "output_text",
        Object(&[TYPE, ("text", Text), ("annotations", Empty)]),
    ),
    ("refusal", Object(&[TYPE, ("refusal", Text)])),
    (
        "input_image",
        Object(&[TYPE, ("image_url", Url), ("detail", Text), BREAKPOINT]),
    ),
    (
        "input_file",
        Object(&[TYPE, ("file_data", Url), ("filename", Text), BREAKPOINT]),
    ),
]);
