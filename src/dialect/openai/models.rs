//! The list of models, and one of them, in OpenAI's form.
//!
//! Source: OpenAI API reference, "Models". `created` is required by the SDKs and has no
//! meaning for a name in a configuration: it is 0.

use crate::base::bytes::TxBuf;
use crate::wire::json::write::put_string;

/// Appends the list object of `/v1/models`; the items are `(id, owned_by)`.
pub fn put_models<'a>(tx: &mut TxBuf, models: impl IntoIterator<Item = (&'a str, &'a str)>) {
    tx.put(b"{\"object\":\"list\",\"data\":[");
    for (i, (id, owned_by)) in models.into_iter().enumerate() {
        if i > 0 {
            tx.put(b",");
        }
        put_model(tx, id, owned_by);
    }
    tx.put(b"]}");
}

/// Appends the object of `/v1/models/{id}`.
pub fn put_model(tx: &mut TxBuf, id: &str, owned_by: &str) {
    tx.put(b"{\"id\":");
    put_string(tx, id);
    tx.put(b",\"object\":\"model\",\"created\":0,\"owned_by\":");
    put_string(tx, owned_by);
    tx.put(b"}");
}
