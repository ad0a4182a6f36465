//! `/v1/messages/count_tokens` for a target that cannot count: an estimate, by what its usage
//! has taught.

use super::connection::Next;
use super::course::Course;
use super::down::Down;
use super::reply;
use super::settle::Settle;
use crate::base::fault::Kind;
use crate::dialect::anthropic::count;
use crate::dialect::model::Dialect;
use crate::dialect::route::Route;
use crate::host::Host;
use crate::policy::plan::Step;

/// Whether the tokens for the target of `step` are counted here.
pub fn is_ours<H: Host>(course: &Course<'_, H>, step: &Step<'_>) -> bool {
    let provider = &step.provider;
    course.route == Route::CountTokens
        && (provider.dialect.speaks() != Dialect::Anthropic || provider.cloud().is_some())
}

/// Answers with the estimate; the field `x-shardgate-estimated` says that it is one.
///
/// # Errors
/// [`Kind::Internal`]: the request was not read.
pub async fn answer<H: Host>(
    course: &Course<'_, H>,
    down: &mut Down<H::Stream>,
    settle: &mut Settle<H>,
    step: &Step<'_>,
) -> Result<Next, Kind> {
    let wanted = down
        .request
        .as_ref()
        .and_then(|request| request.wanted.as_ref());
    let rewrite = wanted.and_then(|wanted| wanted.rewrite.as_ref());
    let weight = rewrite.ok_or(Kind::Internal)?.weight;
    let (shard, snapshot) = course.served();
    let target = snapshot.places.target(step.model_index, step.target_index);
    let dialect = step.provider.dialect.speaks();
    let tokens = shard.targets.borrow().count(target, &weight, dialect);
    let extra: [(&[u8], &[u8]); 4] = [
        (b"request-id", settle.receipt.id.bytes()),
        (b"x-shardgate-model", step.model.name.as_bytes()),
        (b"x-shardgate-target", step.provider.name.as_bytes()),
        (b"x-shardgate-estimated", b"input_tokens"),
    ];
    let about = (200, settle.receipt.id, course.manner);
    reply::put_reply(&mut down.tx, shard, about, &extra, |tx| {
        count::write(tx, tokens);
    });
    settle.done(200);
    let stall = snapshot.config.timeouts.stall;
    Ok(reply::send(shard, down, (course.manner, stall)).await)
}
