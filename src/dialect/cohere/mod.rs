//! Cohere v2 Chat: to and from the model of [`super::model`].
