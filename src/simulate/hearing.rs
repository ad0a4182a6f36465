//! What an answer says of the request: what tools gave, and what there was to see and hear.
//!
//! ```text
//!   … assistant: call 7 get_weather │ user: result 7 "sunny", image/png, image/jpeg
//!                                   └ since the model spoke
//!   ─► "The result of get_weather is: sunny. " "I see 2 images: image/png, image/jpeg. "
//! ```

use crate::dialect::model::{
    Block, Call, Dialect, Media, MediaKind, Request, Role, Source, ToolResult, Turn,
};

/// What is said before anything else: one sentence for each result, one for each kind of media.
pub fn lead(request: &Request) -> Vec<String> {
    let mut lead: Vec<_> = results(request)
        .map(|result| {
            let name = name_of(request, result);
            let word = if result.is_error { "error" } else { "result" };
            format!("The {word} of {name} is: {}. ", said(&result.content))
        })
        .collect();
    let mut all = Vec::new();
    for turn in &request.turns {
        media(&turn.blocks, &mut all);
    }
    for (kind, verb, noun) in [
        (MediaKind::Image, "see", "image"),
        (MediaKind::Document, "read", "document"),
        (MediaKind::Audio, "hear", "recording"),
        (MediaKind::Video, "watch", "video"),
    ] {
        let types: Vec<_> = all
            .iter()
            .filter(|media| media.kind == kind)
            .map(|media| type_of(media))
            .collect();
        if let count @ 1.. = types.len() {
            let s = if count == 1 { "" } else { "s" };
            lead.push(format!(
                "I {verb} {count} {noun}{s}: {}. ",
                types.join(", ")
            ));
        }
    }
    lead
}

/// Whether tools have answered since the model spoke last.
pub fn has_results(request: &Request) -> bool {
    results(request).next().is_some()
}

/// Whether the conversation has a signature, or the like, that `dialect` has not given: the
/// mark of a gateway, or what another provider said.
pub fn has_foreign_state(request: &Request, dialect: Dialect) -> bool {
    let mut blocks = request.turns.iter().flat_map(|turn| &turn.blocks);
    let is_foreign = |block: &Block| match block {
        Block::Thinking { opaque: None, .. } => dialect == Dialect::Anthropic,
        Block::Thinking { opaque, .. } | Block::Call(Call { opaque, .. }) => opaque
            .as_ref()
            .is_some_and(|opaque| opaque.dialect != dialect),
        _ => false,
    };
    blocks.any(is_foreign)
}

fn results(request: &Request) -> impl Iterator<Item = &ToolResult> {
    let spoke = |turn: &Turn| turn.role == Role::Assistant;
    let since = request.turns.iter().rposition(spoke).map_or(0, |at| at + 1);
    let turns = request.turns.iter().skip(since);
    turns
        .flat_map(|turn| &turn.blocks)
        .filter_map(|block| match block {
            Block::Result(result) => Some(result),
            _ => None,
        })
}

/// The tool that gave `result`: by the call that it answers, since most dialects name no tool.
fn name_of<'r>(request: &'r Request, result: &'r ToolResult) -> &'r str {
    let blocks = request.turns.iter().flat_map(|turn| &turn.blocks);
    let mut calls = blocks.filter_map(|block| match block {
        Block::Call(call) if call.id == result.id => Some(call.name.as_str()),
        _ => None,
    });
    let named = result.name.as_deref();
    calls.next().or(named).unwrap_or("a tool")
}

fn said(content: &[Block]) -> String {
    let texts = content.iter().filter_map(|block| match block {
        Block::Text { text, .. } => Some(text.as_str()),
        _ => None,
    });
    texts.collect::<Vec<_>>().join(" ")
}

fn media<'r>(blocks: &'r [Block], into: &mut Vec<&'r Media>) {
    for block in blocks {
        match block {
            Block::Media(media) => into.push(media),
            Block::Result(result) => media_of(result, into),
            _ => {}
        }
    }
}

fn media_of<'r>(result: &'r ToolResult, into: &mut Vec<&'r Media>) {
    into.extend(result.content.iter().filter_map(|block| match block {
        Block::Media(media) => Some(media),
        _ => None,
    }));
}

fn type_of(media: &Media) -> &str {
    match &media.source {
        Source::Inline { media_type, .. } => media_type,
        Source::Text(_) => "text/plain",
        Source::Url(_) => "at an address",
        Source::File { .. } => "a file",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::route::Route;
    use crate::dialect::speak;

    /// Goal: a gateway's own marks, and what other providers signed, are seen for what they are.
    #[test]
    fn foreign_signatures_are_seen() {
        for (signature, want) in [("EqQB", false), ("sg1::", true), ("sg1:gemini:1", true)] {
            let body = format!(
                r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":"?"}},
                    {{"role":"assistant","content":[{{"type":"thinking","thinking":"h",
                    "signature":"{signature}"}},{{"type":"text","text":"a"}}]}},
                    {{"role":"user","content":"?"}}]}}"#
            );
            let request = speak::ask(Route::Messages, body.as_bytes(), "m", false).unwrap();
            let got = has_foreign_state(&request, Dialect::Anthropic);
            assert_eq!(got, want, "{signature}");
        }
    }

    /// Goal: results are told with their tools' names, media by number and type, over the
    /// whole conversation; results count only since the model spoke last.
    #[test]
    fn results_and_media_are_told() {
        let body = br#"{"model":"m","max_tokens":9,"messages":[
            {"role":"user","content":[{"type":"image","source":{"type":"base64",
                "media_type":"image/png","data":"AAAA"}},{"type":"text","text":"?"}]},
            {"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"look","input":{}},
                {"type":"tool_use","id":"t2","name":"listen","input":{}}]},
            {"role":"user","content":[
                {"type":"tool_result","tool_use_id":"t2","is_error":true,"content":"deaf"},
                {"type":"tool_result","tool_use_id":"t1","content":[{"type":"text","text":"blue"},
                    {"type":"image","source":{"type":"url","url":"https://x/"}}]}]}]}"#;
        let mut request = speak::ask(Route::Messages, body, "m", false).unwrap();
        assert!(has_results(&request));
        assert_eq!(
            lead(&request),
            [
                "The error of listen is: deaf. ",
                "The result of look is: blue. ",
                "I see 2 images: image/png, at an address. "
            ]
        );
        request.turns.push(Turn {
            role: Role::Assistant,
            name: None,
            blocks: vec![Block::text("ok")],
        });
        assert!(!has_results(&request));
        assert_eq!(lead(&request).len(), 1);
    }
}
