//! Of bodies in the dialects of Anthropic, Gemini, Cohere and Bedrock.

use super::Shape::{
    Any, Contents, Flag, Kinds, Limit, List, Messages, Natural, Number, Object, Skip, Text, TextOr,
    Union, Url, Words,
};
use super::{MARK, ROLE, Shape, TYPE, by_role, by_type};

pub(super) const ANTHROPIC: Shape = Object(&[
    ("model", Skip),
    ("stream", Skip),
    ("metadata", Object(&[("user_id", Skip)])),
    ("max_tokens", Limit),
    ("system", TextOr(&ANTHROPIC_PART)),
    (
        "messages",
        List(&by_role(&[
            (
                "user",
                Object(&[ROLE, ("content", TextOr(&ANTHROPIC_PART))]),
            ),
            (
                "assistant",
                Object(&[ROLE, ("content", TextOr(&ANTHROPIC_PART))]),
            ),
        ])),
    ),
    ("temperature", Number),
    ("top_p", Number),
    ("top_k", Natural),
    ("stop_sequences", List(&Text)),
    ("service_tier", Text),
    (
        "tools",
        List(&Kinds {
            by: "type",
            of: &[(
                "custom",
                Object(&[
                    TYPE,
                    ("name", Text),
                    ("description", Text),
                    ("input_schema", Any),
                    ("strict", Flag),
                    MARK,
                ]),
            )],
            is_last_default: true,
        }),
    ),
    (
        "tool_choice",
        by_type(&[
            ("auto", Object(&[TYPE, NO_PARALLEL])),
            ("any", Object(&[TYPE, NO_PARALLEL])),
            ("none", Object(&[TYPE])),
            ("tool", Object(&[TYPE, ("name", Text), NO_PARALLEL])),
        ]),
    ),
    (
        "thinking",
        by_type(&[
            ("enabled", Object(&[TYPE, ("budget_tokens", Number)])),
            ("disabled", Object(&[TYPE])),
            ("adaptive", Object(&[TYPE])),
        ]),
    ),
    (
        "output_config",
        Object(&[(
            "format",
            by_type(&[("json_schema", Object(&[TYPE, ("schema", Any)]))]),
        )]),
    ),
]);
const NO_PARALLEL: (&str, Shape) = ("disable_parallel_tool_use", Flag);
const ANTHROPIC_PART: Shape = by_type(&[
    ("text", Object(&[TYPE, ("text", Text), MARK])),
    (
        "image",
        Object(&[
            TYPE,
            MARK,
            (
                "source",
                by_type(&[
                    (
                        "base64",
                        Object(&[TYPE, ("media_type", Text), ("data", Text)]),
                    ),
                    ("url", Object(&[TYPE, ("url", Text)])),
                ]),
            ),
        ]),
    ),
    (
        "document",
        Object(&[
            TYPE,
            MARK,
            ("title", Text),
            (
                "source",
                by_type(&[
                    (
                        "base64",
                        Object(&[TYPE, ("media_type", Text), ("data", Text)]),
                    ),
                    (
                        "text",
                        Object(&[TYPE, ("media_type", Words(&["text/plain"])), ("data", Text)]),
                    ),
                    ("url", Object(&[TYPE, ("url", Text)])),
                ]),
            ),
        ]),
    ),
    (
        "tool_use",
        Object(&[TYPE, ("id", Text), ("name", Text), ("input", Any), MARK]),
    ),
    (
        "tool_result",
        Object(&[
            TYPE,
            ("tool_use_id", Text),
            ("content", TextOr(&ANTHROPIC_RESULT)),
            ("is_error", Flag),
            MARK,
        ]),
    ),
]);
const ANTHROPIC_RESULT: Shape = by_type(&[("text", Object(&[TYPE, ("text", Text), MARK]))]);

pub(super) const GEMINI: Shape = Object(&[
    ("model", Skip),
    (
        "contents",
        Contents(&Object(&[
            ("role", Words(&["user", "model"])),
            ("parts", List(&GEMINI_PART)),
        ])),
    ),
    (
        "systemInstruction",
        Object(&[("role", Skip), ("parts", List(&GEMINI_PART))]),
    ),
    (
        "generationConfig",
        Object(&[
            ("temperature", Number),
            ("topP", Number),
            ("topK", Natural),
            ("candidateCount", Number),
            ("maxOutputTokens", Limit),
            ("presencePenalty", Number),
            ("frequencyPenalty", Number),
            ("seed", Number),
            ("stopSequences", List(&Text)),
            ("responseMimeType", Words(&["application/json"])),
            ("responseJsonSchema", Any),
        ]),
    ),
    (
        "tools",
        List(&Object(&[(
            "functionDeclarations",
            List(&Object(&[
                ("name", Text),
                ("description", Text),
                ("parametersJsonSchema", Any),
            ])),
        )])),
    ),
    (
        "toolConfig",
        Object(&[(
            "functionCallingConfig",
            Object(&[("mode", Words(&["AUTO", "NONE", "ANY"]))]),
        )]),
    ),
    ("serviceTier", Text),
]);
const GEMINI_PART: Shape = Union(&[
    ("text", Text),
    ("inlineData", Object(&[("mimeType", Text), ("data", Text)])),
]);

pub(super) const COHERE: Shape = Object(&[
    ("model", Skip),
    ("stream", Skip),
    (
        "messages",
        Messages {
            lone: "system",
            each: &by_role(&[
                ("system", Object(&[ROLE, ("content", TextOr(&COHERE_TEXT))])),
                ("user", Object(&[ROLE, ("content", TextOr(&COHERE_PART))])),
                (
                    "assistant",
                    Object(&[ROLE, ("content", TextOr(&COHERE_TEXT))]),
                ),
                (
                    "tool",
                    Object(&[
                        ROLE,
                        ("tool_call_id", Text),
                        ("content", TextOr(&COHERE_TEXT)),
                    ]),
                ),
            ]),
        },
    ),
    ("temperature", Number),
    ("p", Number),
    ("k", Natural),
    ("max_tokens", Limit),
    ("frequency_penalty", Number),
    ("presence_penalty", Number),
    ("seed", Number),
    ("stop_sequences", List(&Text)),
    (
        "tools",
        List(&by_type(&[(
            "function",
            Object(&[
                TYPE,
                (
                    "function",
                    Object(&[("name", Text), ("description", Text), ("parameters", Any)]),
                ),
            ]),
        )])),
    ),
    ("tool_choice", Words(&["REQUIRED", "NONE"])),
    ("strict_tools", Flag),
    (
        "response_format",
        by_type(&[
            ("text", Object(&[TYPE])),
            ("json_object", Object(&[TYPE, ("json_schema", Any)])),
        ]),
    ),
]);
const COHERE_TEXT: Shape = by_type(&[("text", Object(&[TYPE, ("text", Text)]))]);
const COHERE_PART: Shape = by_type(&[
    ("text", Object(&[TYPE, ("text", Text)])),
    (
        "image_url",
        Object(&[
            TYPE,
            ("image_url", Object(&[("url", Url), ("detail", Text)])),
        ]),
    ),
]);

pub(super) const BEDROCK: Shape = Object(&[
    (
        "messages",
        List(&by_role(&[
            ("user", Object(&[ROLE, ("content", List(&BEDROCK_PART))])),
            (
                "assistant",
                Object(&[ROLE, ("content", List(&BEDROCK_PART))]),
            ),
        ])),
    ),
    ("system", List(&Union(&[("text", Text)]))),
    (
        "inferenceConfig",
        Object(&[
            ("maxTokens", Limit),
            ("temperature", Number),
            ("topP", Number),
            ("stopSequences", List(&Text)),
        ]),
    ),
    (
        "toolConfig",
        Object(&[
            (
                "tools",
                List(&Union(&[(
                    "toolSpec",
                    Object(&[
                        ("name", Text),
                        ("description", Text),
                        ("inputSchema", Object(&[("json", Any)])),
                        ("strict", Flag),
                    ]),
                )])),
            ),
            (
                "toolChoice",
                Union(&[
                    ("auto", Object(&[])),
                    ("any", Object(&[])),
                    ("tool", Object(&[("name", Text)])),
                ]),
            ),
        ]),
    ),
    (
        "additionalModelRequestFields",
        Object(&[("top_k", Natural)]),
    ),
    ("requestMetadata", Skip),
    ("serviceTier", Object(&[("type", Text)])),
]);
const BEDROCK_PART: Shape = Union(&[
    ("text", Text),
    (
        "image",
        Object(&[("format", Text), ("source", Union(&[("bytes", Text)]))]),
    ),
    (
        "toolUse",
        Object(&[("toolUseId", Text), ("name", Text), ("input", Any)]),
    ),
    (
        "toolResult",
        Object(&[
            ("toolUseId", Text),
            ("content", List(&Union(&[("text", Text)]))),
            ("status", Words(&["success", "error"])),
        ]),
    ),
]);
