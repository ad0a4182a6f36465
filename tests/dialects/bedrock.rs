//! Amazon Bedrock Converse.
