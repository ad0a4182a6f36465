//! What a request wants for itself, put into force: [`crate::policy::wishes`] reads it.
//!
//! Nothing is looked for in requests without a field that may be a wish, in head or body: the pass
//! over the head says so, and the scan of the body.

use super::request::{Request, Wanted};
use crate::base::fault::Kind;
use crate::cache::key::{Fold, Key};
use crate::config::model::Found;
use crate::dialect::fallbacks;
use crate::policy::plan::Plan;
use crate::policy::wishes::{Bad, Wished, Wishes};
use crate::shard::snapshot::Snapshot;
use std::time::Duration;

/// By what those share an exchange who ask for the same, `key`, and wish the same: the first one's
/// fallbacks and limits are the others', too.
pub fn apart(key: Key, wishes: Option<&Wishes>) -> Key {
    let Some(Wishes {
        timeout,
        first_token,
        attempts,
        fallbacks,
        ..
    }) = wishes
    else {
        return key;
    };
    if timeout.or(*first_token).is_none() && attempts.is_none() && fallbacks.is_none() {
        return key;
    }
    let mut fold = Fold::new("exchange with wishes");
    let time = |fold: &mut Fold, limit: &Duration| {
        fold.number(limit.as_secs());
        fold.number(limit.subsec_nanos().into());
    };
    fold.key(&key);
    fold.maybe(1, timeout.as_ref(), time);
    fold.maybe(2, first_token.as_ref(), time);
    fold.maybe(3, *attempts, Fold::count);
    fold.maybe(4, fallbacks.as_deref(), |fold, named| {
        fold.count(named.len());
        for Wished { model, forwarded } in named {
            fold.count(*model);
            fold.text(forwarded);
        }
    });
    fold.finish()
}

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

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: only those share an exchange who wish the same of it. Method: each wish alone, two
    /// values of it, and none; a session, a name and no wish at all are none.
    #[test]
    fn other_wishes_are_another_exchange() {
        let key = Key::new([7; Key::LEN]);
        let none = Wishes::default();
        let fallback = |model, forwarded: &str| Wished {
            model,
            forwarded: forwarded.into(),
        };
        let with = |list: Vec<Wished>| Wishes {
            fallbacks: Some(list.into()),
            ..none.clone()
        };
        let second = Some(Duration::from_secs(1));
        let later = Some(Duration::from_nanos(1_000_000_001));
        let all = [
            none.clone(),
            Wishes {
                timeout: second,
                ..none.clone()
            },
            Wishes {
                timeout: later,
                ..none.clone()
            },
            Wishes {
                first_token: second,
                ..none.clone()
            },
            Wishes {
                attempts: Some(1),
                ..none.clone()
            },
            Wishes {
                attempts: Some(2),
                ..none.clone()
            },
            with(vec![]),
            with(vec![fallback(0, "a")]),
            with(vec![fallback(1, "a")]),
            with(vec![fallback(0, "b")]),
            with(vec![fallback(0, "a"), fallback(1, "a")]),
        ];
        let keys: Vec<_> = all.iter().map(|it| apart(key, Some(it))).collect();
        for (at, one) in keys.iter().enumerate() {
            assert_eq!(keys.iter().position(|it| it == one), Some(at));
            assert_eq!(*one, apart(key, all.get(at)));
        }
        let named = Wishes {
            asked: "m".into(),
            ..none
        };
        assert_eq!([Some(&named), None].map(|it| apart(key, it)), [key; 2]);
        assert_eq!(keys.first(), Some(&key));
    }
}
