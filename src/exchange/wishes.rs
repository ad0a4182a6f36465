//! What a request wants for itself, put into force: [`crate::policy::wishes`] reads it.
//!
//! Nothing is looked for in requests without a field that may be a wish, in head or body: the pass
//! over the head says so, and the scan of the body.

use super::request::{Request, Wanted};
use crate::base::fault::Kind;
use crate::config::model::Found;
use crate::dialect::fallbacks;
use crate::policy::plan::Plan;
use crate::policy::wishes::{Bad, Wishes};
use crate::shard::snapshot::Snapshot;

/// Puts the wishes of `request` into `wanted`, which is asked for by `key` as `asked` and was
/// `found`; `data` are the bytes that both point into.
///
/// # Errors
/// What is wrong with a wish; [`super::rewrite::Rewrite::told`] has the field.
pub fn apply<L>(
    snapshot: &Snapshot<L>,
    (request, data): (&Request, &[u8]),
    wanted: &mut Wanted,
    key: Option<usize>,
    (found, asked): (&Found<'_>, &str),
) -> Result<(), Kind> {
    let in_body = wanted.ask.fallbacks();
    if !request.head.has_wishes && in_body.is_none() {
        return Ok(());
    }
    let config = &snapshot.config;
    let read = || {
        let mut wishes = Wishes::read(request.head.fields(data))?;
        let body = wanted.body.bytes(data);
        let names = in_body.map(|span| fallbacks::names(span.bytes(body)).ok_or_else(Bad::list));
        let names = names.transpose()?.flatten();
        wishes.find(names, config, key, (found.index, asked))?;
        Ok(wishes)
    };
    match read() {
        Ok(mut wishes) => {
            let most = config.retry.attempts_max;
            let attempts = wishes.attempts.map_or(most, |wish| wish.min(most));
            wanted.plan = Plan::new(found, attempts);
            wishes.asked.clone_from(&wanted.forwarded);
            wanted.wishes = Some(Box::new(wishes));
            Ok(())
        }
        Err(Bad { kind, field, why }) => {
            let rewrite = wanted.rewrite.get_or_insert_default();
            rewrite.refuse(field, &why);
            Err(kind)
        }
    }
}
