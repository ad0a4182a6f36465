//! The admin plane: its own listener, read-only so far, never on the data listener.
//!
//! One request a connection, bounded in size and time; it runs on the control executor and
//! asks the shards for what it shows.

use super::shards::Bound;
use super::status;
use crate::base::bufpool::BufPool;
use crate::base::bytes::{RxBuf, TxBuf};
use crate::config::Config;
use crate::host::uring::{Tcp, Uring};
use crate::host::{self, Host};
use crate::shard::orders::Report;
use crate::stats::text::Form;
use crate::wire::http1::{
    END_OF_HEAD, HeadLimits, Method, RequestReader, put_decimal_field, put_field, put_status_line,
};
use futures_lite::FutureExt;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How long a client of the admin plane may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connections at once; more are closed.
const CONNECTIONS_MAX: usize = 64;

/// What the admin plane shows.
#[derive(Debug)]
pub struct Admin {
    /// The configuration in force.
    pub config: Arc<Config>,
    /// The shards.
    pub shards: Vec<Bound>,
    /// Whether the process is going down.
    pub is_draining: Cell<bool>,
    open: Cell<usize>,
}

impl Admin {
    /// The admin plane of these shards.
    pub fn new(config: Arc<Config>, shards: Vec<Bound>) -> Rc<Self> {
        Rc::new(Self {
            config,
            shards,
            is_draining: Cell::new(false),
            open: Cell::new(0),
        })
    }

    /// A report of every shard that lives.
    pub async fn reports(&self) -> Vec<Report> {
        let mut reports = Vec::with_capacity(self.shards.len());
        for shard in &self.shards {
            reports.extend(shard.report().await);
        }
        reports
    }
}

/// Serves the admin plane for as long as the process lives.
pub async fn accept_loop(admin: Rc<Admin>, listener: <Uring as Host>::Listener) {
    loop {
        let Ok(link) = Uring.accept(&listener).await else {
            Uring
                .sleep_until(Uring.now() + Duration::from_millis(100))
                .await;
            continue;
        };
        if admin.open.get() >= CONNECTIONS_MAX {
            continue; // dropping the link closes it
        }
        admin.open.set(admin.open.get() + 1);
        let admin = Rc::clone(&admin);
        Uring.spawn(async move {
            let until = Uring.now() + PATIENCE;
            serve(&admin, link).or(Uring.sleep_until(until)).await;
            admin.open.set(admin.open.get() - 1);
        });
    }
}

async fn serve(admin: &Rc<Admin>, mut link: Tcp) {
    let pool = BufPool::new();
    let (mut rx, mut tx) = (RxBuf::new(&pool), TxBuf::new(&pool));
    let mut reader = RequestReader::new(HeadLimits::REQUEST);
    let page = loop {
        match host::read(&mut link, &mut rx).await {
            Ok(1..) => {}
            _ => return,
        }
        match reader.push(rx.data()) {
            Ok(None) => {}
            Ok(Some(head)) => {
                let path = head.path.bytes(rx.data());
                let accept = head
                    .fields(rx.data())
                    .find(|(name, _)| name.eq_ignore_ascii_case(b"accept"));
                let form = Form::accepted(accept.map_or(b"", |(_, value)| value));
                break page(admin, head.method, path, form).await;
            }
            Err(error) => {
                break Page::error(
                    error.kind().status(),
                    "the request is not well-formed HTTP/1.1",
                );
            }
        }
    };
    put_status_line(&mut tx, page.status);
    put_field(&mut tx, b"content-type", page.media.as_bytes());
    put_decimal_field(&mut tx, "content-length", page.body.len() as u64);
    tx.put(b"cache-control: no-store\r\nconnection: close\r\n");
    tx.put(END_OF_HEAD);
    if !page.is_head {
        tx.put(page.body.as_bytes());
    }
    if host::flush(&mut link, &mut tx).await.is_ok() {
        host::Link::finish(&mut link);
        rx.clear();
        // Until the client has closed, so that no reset destroys the answer.
        while let Ok(1..) = host::read(&mut link, &mut rx).await {
            rx.clear();
        }
    }
}

struct Page {
    status: u16,
    media: &'static str,
    body: String,
    is_head: bool,
}

impl Page {
    fn json(status: u16, value: &serde_json::Value) -> Self {
        let body = format!("{value:#}\n");
        Self {
            status,
            media: "application/json",
            body,
            is_head: false,
        }
    }

    fn error(status: u16, message: &str) -> Self {
        Self::json(
            status,
            &serde_json::json!({ "error": { "message": message } }),
        )
    }

    fn text(media: &'static str, body: String) -> Self {
        Self {
            status: 200,
            media,
            body,
            is_head: false,
        }
    }
}

async fn page(admin: &Rc<Admin>, method: Method, path: &[u8], form: Form) -> Page {
    if !matches!(method, Method::Get | Method::Head) {
        return Page::error(405, "the admin plane answers GET and HEAD");
    }
    let draining = admin.is_draining.get();
    let mut page = match path {
        b"/metrics" => {
            let text = status::metrics(&admin.config, &admin.reports().await, form);
            Page::text(form.media(), text)
        }
        b"/api/status" => Page::json(
            200,
            &status::status(&admin.config, &admin.reports().await, draining),
        ),
        b"/api/config" => Page::text(
            "application/toml; charset=utf-8",
            status::config(&admin.config),
        ),
        b"/livez" => Page::text("text/plain; charset=utf-8", "live\n".to_owned()),
        b"/readyz" if draining => Page::error(503, "the gateway is shutting down"),
        b"/readyz" => Page::text("text/plain; charset=utf-8", "ready\n".to_owned()),
        _ => Page::error(
            404,
            "there are /metrics, /api/status, /api/config, /livez and /readyz",
        ),
    };
    page.is_head = method == Method::Head;
    page
}
