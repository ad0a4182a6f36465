//! `OpenAI` Responses: to and from the model of [`super::model`].
