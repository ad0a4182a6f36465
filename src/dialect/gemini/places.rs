//! Where Gemini's texts come from: citations and grounding, which stand beside them.
//!
//! In a step each is a JSON value without its name: citations have a list of sources, anything
//! else is grounding.
//!
//! Source: Gemini API reference, `CitationMetadata` (Vertex: `citations`), `GroundingMetadata`.

use crate::dialect::model::{Answer, Block, Dialect};
use serde_json::{Map, Value};

/// The lists that tell citations from grounding.
const SOURCES: [&str; 2] = ["citationSources", "citations"];

/// The name of a place.
pub(in crate::dialect) const fn name(is_citation: bool) -> &'static str {
    if is_citation {
        "citationMetadata"
    } else {
        "groundingMetadata"
    }
}

/// Whether a place is citations.
pub(in crate::dialect) fn is_citation(place: &Map<String, Value>) -> bool {
    SOURCES.iter().any(|key| place.contains_key(*key))
}

/// Adds a place to `all` of them, which may have some of it; `None`: it is none.
pub(in crate::dialect) fn add(all: &mut Value, place: Value) -> Option<()> {
    let (Some(all), Value::Object(more)) = (all.as_object_mut(), place) else {
        return None;
    };
    let is_citation = is_citation(&more);
    let known = all.entry(name(is_citation));
    let known = known.or_insert_with(|| Map::new().into());
    let known = known.as_object_mut()?;
    for (key, value) in more {
        match (known.get_mut(&key), value) {
            (Some(Value::Array(before)), Value::Array(more)) if is_citation => before.extend(more),
            (_, value) => drop(known.insert(key, value)),
        }
    }
    Some(())
}

/// The places of an answer, by their names: those of its last text that has some.
pub(super) fn of_answer(answer: &Answer) -> Option<&Map<String, Value>> {
    let mut texts = answer.blocks.iter().rev();
    let found = texts.find_map(|block| match block {
        Block::Text { citations, .. } => citations.as_ref()?.as_object(),
        _ => None,
    });
    found.filter(|_| answer.origin == Some(Dialect::Gemini))
}
