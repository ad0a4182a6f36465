//! Gemini `generateContent`: to and from the model of [`super::model`].
