//! Images and documents.
//!
//! Source: protocols.md 6.1, mapping.md 3: images are JPEG, PNG, GIF or WebP, and the type
//! that is told must be that of the bytes.

use super::fields::Field;
use super::put;
use crate::dialect::model::{Abilities, Dialect, Media, MediaKind, Notes, Source, Unfit};
use serde_json::{Map, Value, json};

/// `media` as a block.
pub(super) fn block(
    media: &Media,
    origin: Option<Dialect>,
    abilities: &Abilities,
    notes: &mut Notes,
) -> Result<Value, Unfit> {
    let unfit = |why| Err(Unfit::new(Field::Messages.name(origin), why));
    let source = match (media.kind, &media.source) {
        (MediaKind::Audio, _) => return unfit("hold sound, which this model does not hear"),
        (MediaKind::Video, _) => return unfit("hold a video, which this model does not see"),
        (MediaKind::Image, _) if !abilities.images => {
            return unfit("hold an image, and this model sees none");
        }
        (_, Source::File { dialect, id }) if *dialect == Dialect::Anthropic => {
            json!({"type": "file", "file_id": id})
        }
        (_, Source::File { .. }) => {
            return unfit("name a file that is at another provider");
        }
        (_, Source::Url(url)) if url.starts_with("http://") || url.starts_with("https://") => {
            json!({"type": "url", "url": url})
        }
        (_, Source::Url(_)) => return unfit("name an address that this provider does not fetch"),
        (MediaKind::Image, Source::Inline { media_type, data }) => {
            if origin == Some(Dialect::Anthropic) {
                json!({"type": "base64", "media_type": media_type, "data": data})
            } else {
                let Some(media_type) = image_type(media_type, data) else {
                    return unfit("hold an image that is no JPEG, PNG, GIF or WebP");
                };
                json!({"type": "base64", "media_type": media_type, "data": data})
            }
        }
        (MediaKind::Image, Source::Text(_)) => return unfit("hold an image without its bytes"),
        (MediaKind::Document, Source::Text(text)) => plain(text),
        (MediaKind::Document, Source::Inline { media_type, data }) => {
            let is_pdf = media_type == "application/pdf";
            if is_pdf && !abilities.documents {
                return unfit("hold a document, and this model reads none");
            }
            if is_pdf || origin == Some(Dialect::Anthropic) {
                json!({"type": "base64", "media_type": media_type, "data": data})
            } else if let Some(text) = text_of(media_type, data) {
                plain(&text)
            } else {
                return unfit("hold a document that is neither PDF nor text");
            }
        }
    };
    if media.detail.as_deref().is_some_and(|d| d != "auto") {
        notes.drop("detail");
    }
    let is_image = media.kind == MediaKind::Image;
    let mut out = Map::new();
    out.insert(
        "type".into(),
        if is_image { "image" } else { "document" }.into(),
    );
    out.insert("source".into(), source);
    if let (false, Some(name)) = (is_image, &media.name) {
        out.insert("title".into(), name.as_str().into());
    }
    put::mark(&mut out, media.cache.as_ref());
    Ok(Value::Object(out))
}

fn plain(text: &str) -> Value {
    json!({"type": "text", "media_type": "text/plain", "data": text})
}

/// The text of an inline document of a text type.
fn text_of(media_type: &str, data: &str) -> Option<String> {
    let is_text = media_type.starts_with("text/") || media_type == "application/json";
    let bytes = is_text.then(|| decode(data)).flatten()?;
    String::from_utf8(bytes).ok()
}

/// The type of an image by its first bytes; by what is told when they say nothing.
fn image_type(told: &str, data: &str) -> Option<&'static str> {
    let head = decode(data.get(..16)?).unwrap_or_default();
    match head.as_slice() {
        [0xFF, 0xD8, 0xFF, ..] => Some("image/jpeg"),
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P'] => Some("image/webp"),
        _ => match told {
            "image/jpeg" | "image/jpg" => Some("image/jpeg"),
            "image/png" => Some("image/png"),
            "image/gif" => Some("image/gif"),
            "image/webp" => Some("image/webp"),
            _ => None,
        },
    }
}

/// The bytes of base64 `data`, in either alphabet; white space is skipped. `None` when it is
/// none. Source: RFC 4648, 4 and 5.
fn decode(data: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(data.len() / 4 * 3);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for byte in data.bytes() {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            b'=' => break,
            _ if byte.is_ascii_whitespace() => continue,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(six);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push(u8::try_from((bits >> held) & 0xFF).ok()?);
            bits &= (1 << held) - 1;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the bytes decide what an image is; a lie is mended, what is no image is refused.
    #[test]
    fn the_bytes_say_what_an_image_is() {
        for (told, data, want) in [
            ("image/png", "/9j/4AAQSkZJRgABAQAA", Some("image/jpeg")),
            ("image/jpg", "iVBORw0KGgoAAAANSUhE", Some("image/png")),
            ("x/y", "R0lGODlhAQABAIAAAAAA", Some("image/gif")),
            ("image/png", "UklGRiQAAABXRUJQVlA4", Some("image/webp")),
            ("image/jpg", "AAAAAAAAAAAAAAAAAAAA", Some("image/jpeg")),
            ("image/svg+xml", "PHN2ZyB4bWxucz0iaHR0", None),
            ("image/png", "", None),
        ] {
            assert_eq!(image_type(told, data), want, "{told} {data}");
        }
    }

    /// Goal: base64 says what it says.
    #[test]
    fn base64_is_read() {
        assert_eq!(decode("aGVs\nbG8=").as_deref(), Some(&b"hello"[..]));
        assert_eq!(decode("_-8").as_deref(), Some(&[0xFF, 0xEF][..]));
        assert_eq!(decode("a!"), None);
    }
}
