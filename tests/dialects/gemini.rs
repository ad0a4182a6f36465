//! Gemini `generateContent`.
