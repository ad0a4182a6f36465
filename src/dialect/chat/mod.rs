//! `OpenAI` Chat Completions: to and from the model of [`super::model`].
