//! The bytes of embeddings: deterministic unit vectors, as numbers or as base64.
//!
//! Source: OpenAI API reference, "Embeddings"; base64 holds little-endian `f32`s (RFC 4648, 4).

use super::ask::Coding;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;

/// Most texts that are answered in one request, OpenAI's own limit.
pub const INPUTS_MAX: u32 = 2048;

/// Most bytes of an answer, and so of memory for one.
pub const BODY_MAX: usize = 64 << 20;

/// One vector of `dims` numbers, as it stands in JSON.
pub fn vector(dims: u32, coding: Coding) -> Vec<u8> {
    let scale = f64::from(dims).sqrt().recip();
    let number = |k: u32| {
        let sign = if k % 3 == 1 { -1.0 } else { 1.0 };
        #[expect(clippy::cast_possible_truncation, reason = "embeddings are f32")]
        let number = (sign * scale) as f32;
        number
    };
    if coding == Coding::Base64 {
        let bytes: Vec<u8> = (0..dims).flat_map(|k| number(k).to_le_bytes()).collect();
        return format!("\"{}\"", BASE64.encode(&bytes)).into_bytes();
    }
    let mut out = vec![b'['];
    for k in 0..dims {
        if k > 0 {
            out.push(b',');
        }
        out.extend_from_slice(number(k).to_string().as_bytes());
    }
    out.push(b']');
    out
}

/// The body that answers `inputs` texts; `None` when it would be larger than [`BODY_MAX`].
pub fn body(vector: &[u8], inputs: u32, model: &[u8], tokens: u32) -> Option<Vec<u8>> {
    const ITEM: &str = "{\"object\":\"embedding\",\"index\":,\"embedding\":},";
    if (inputs as usize).checked_mul(vector.len() + ITEM.len() + 10)? > BODY_MAX {
        return None;
    }
    let mut out = Vec::with_capacity(inputs as usize * (vector.len() + 64) + 256);
    out.extend_from_slice(b"{\"object\":\"list\",\"data\":[");
    for index in 0..inputs {
        let comma = if index > 0 { "," } else { "" };
        out.extend_from_slice(
            format!("{comma}{{\"object\":\"embedding\",\"index\":{index},\"embedding\":")
                .as_bytes(),
        );
        out.extend_from_slice(vector);
        out.push(b'}');
    }
    out.extend_from_slice(b"],\"model\":\"");
    out.extend_from_slice(model);
    out.extend_from_slice(
        format!("\",\"usage\":{{\"prompt_tokens\":{tokens},\"total_tokens\":{tokens}}}}}")
            .as_bytes(),
    );
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: bodies are JSON with a vector for each text; the vectors have length one.
    #[test]
    fn each_text_gets_a_unit_vector() {
        let body = body(&vector(12, Coding::Float), 3, b"m", 9).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let data = json["data"].as_array().unwrap();
        assert_eq!((data.len(), &data[2]["index"]), (3, &2.into()));
        let squares: f64 = data[0]["embedding"]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n.as_f64().unwrap().powi(2))
            .sum();
        assert!((squares - 1.0).abs() < 1e-6, "{squares}");
        assert_eq!(vector(3, Coding::Base64).len(), 2 + 16);
        assert_eq!(super::body(&vec![0; 1 << 20], 100, b"m", 9), None);
    }
}
