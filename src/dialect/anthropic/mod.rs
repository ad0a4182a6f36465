//! Anthropic Messages: to and from the model of [`super::model`].
