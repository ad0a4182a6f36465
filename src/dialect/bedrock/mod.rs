//! Amazon Bedrock Converse: to and from the model of [`super::model`].
