//! What cannot be said: in a request at all, or to one target.

use std::borrow::Cow;

/// A request that breaks its own dialect: the caller's mistake, a 400 whatever the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadAsk {
    /// The field, as a path in the caller's own body: `messages[2].content`.
    pub field: String,
    /// What would be right, as the end of a sentence that begins with the field's name:
    /// `must be a string`.
    pub wanted: &'static str,
}

/// A request that a target cannot honour without changing what it means.
///
/// The router goes on to the next target; when none is left, the client gets a 400 in its own
/// dialect that names the field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// The field, by its name in the caller's dialect where that is known, else by what it is.
    pub field: Cow<'static, str>,
    /// Why the target cannot, as the end of a sentence: `cannot be asked of this model`.
    pub why: &'static str,
}

impl Unfit {
    /// `field` is at fault.
    pub fn new(field: impl Into<Cow<'static, str>>, why: &'static str) -> Self {
        Self {
            field: field.into(),
            why,
        }
    }
}

/// What was left out on the way to a target, because it only tunes the answer. Named in
/// `x-shardgate-dropped`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    dropped: Vec<Cow<'static, str>>,
}

impl Notes {
    /// The most names that are told; more are counted as `…`.
    pub const TOLD_MAX: usize = 16;

    /// `field` is left out. Each name is told once.
    pub fn drop(&mut self, field: impl Into<Cow<'static, str>>) {
        let field = field.into();
        if !self.dropped.contains(&field) && self.dropped.len() < Self::TOLD_MAX {
            self.dropped.push(field);
        }
    }

    /// The names, in the order in which they were left out.
    pub fn dropped(&self) -> &[Cow<'static, str>] {
        &self.dropped
    }
}
