//! The admin plane: its own listener, never on the data listener. It shows, and it reloads.
//!
//! One request a connection, bounded in size and time; it runs on the control executor and
//! asks the shards for what it shows.

use super::notify::Notify;
use super::purge;
use super::reload::{self, Loader, Reloaded};
use super::resolve::Resolver;
use super::shards::Bound;
use super::shared::Shared;
use super::status;
use super::tls::Watch;
use crate::base::bufpool::BufPool;
use crate::base::bytes::{RxBuf, TxBuf};
use crate::base::time::Instant;
use crate::cache::purge::Purge;
use crate::config::diff::Roster;
use crate::host::uring::{Tcp, Uring};
use crate::host::{self, Host};
use crate::shard::orders::Report;
use crate::shard::orders::Task;
use crate::shard::snapshot::Edition;
use crate::stats::reloads::Reloads;
use crate::stats::text::Form;
use crate::wire::http1::{
    END_OF_HEAD, HeadLimits, Method, RequestReader, put_decimal_field, put_own_field,
    put_status_line,
};
use futures_lite::FutureExt;
use rustls::ServerConfig;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How long a client of the admin plane may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connections at once; more are closed.
const CONNECTIONS_MAX: usize = 64;

/// How long a page may take to make: a reload looks names up.
const PAGE_MAX: Duration = Duration::from_secs(60);

/// How often somebody who waits for a turn, or for a reload, looks.
const LOOK: Duration = Duration::from_millis(2);

/// What control works with from the start.
#[derive(Debug)]
pub struct Desk {
    /// The first edition.
    pub edition: Edition,
    /// Reads the configuration again; `None` when it did not come from a file.
    pub loader: Option<Loader>,
    /// Looks names up.
    pub resolver: Resolver,
    /// The service manager.
    pub notify: Notify,
}

/// Writes a line into the log.
type Say = Box<dyn Fn(&str)>;

/// Control's own state, and what the admin plane shows of it.
pub struct Admin {
    /// The shards.
    pub shards: Vec<Bound>,
    /// Whether the process is going down.
    pub is_draining: Cell<bool>,
    /// Whether a successor accepts on the same socket.
    pub is_handed_over: Cell<bool>,
    /// Whether a reload is under way.
    pub is_reloading: Cell<bool>,
    /// See [`Desk`].
    pub loader: Option<Loader>,
    /// See [`Desk`].
    pub resolver: Resolver,
    /// See [`Desk`].
    pub notify: Notify,
    /// The numbers of all names that were ever configured.
    pub roster: RefCell<Roster>,
    edition: RefCell<Arc<Edition>>,
    /// Watches the listeners' certificate of the edition in force.
    certificate: RefCell<Option<Watch>>,
    reloads: Cell<Reloads>,
    /// How often stored answers were purged.
    purges: Cell<u64>,
    /// The tier that boxes share.
    pub shared: Shared,
    /// The last reload, and the last one that did not come into force.
    last: RefCell<(Option<Reloaded>, Option<Reloaded>)>,
    /// Where lines of the log go.
    say: RefCell<Option<Say>>,
    is_taken: Cell<bool>,
    open: Cell<usize>,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

/// The one whose turn it is to ask all shards; ends when it is dropped.
#[derive(Debug)]
pub struct Turn<'a>(&'a Cell<bool>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

fn watch(edition: &Edition) -> Option<Watch> {
    let files = edition.tls.as_ref()?;
    Some(Watch::new(&edition.config, files, Uring.now()))
}

impl Admin {
    /// The admin plane of these shards.
    pub fn new(desk: Desk, shards: Vec<Bound>) -> Rc<Self> {
        let mut roster = Roster::default();
        let places = roster.enter(&desk.edition.config);
        debug_assert_eq!(places, desk.edition.places);
        let certificate = watch(&desk.edition);
        let shared = Shared::default();
        shared.renew(&desk.edition);
        Rc::new(Self {
            shards,
            is_draining: Cell::new(false),
            is_handed_over: Cell::new(false),
            is_reloading: Cell::new(false),
            loader: desk.loader,
            resolver: desk.resolver,
            notify: desk.notify,
            roster: RefCell::new(roster),
            edition: RefCell::new(Arc::new(desk.edition)),
            certificate: RefCell::new(certificate),
            reloads: Cell::default(),
            purges: Cell::new(0),
            shared,
            last: RefCell::default(),
            say: RefCell::default(),
            is_taken: Cell::new(false),
            open: Cell::new(0),
        })
    }

    /// The edition in force.
    pub fn edition(&self) -> Arc<Edition> {
        Arc::clone(&self.edition.borrow())
    }

    /// Another one has come into force on every shard.
    pub fn set_edition(&self, edition: Arc<Edition>) {
        self.certificate.replace(watch(&edition));
        self.shared.renew(&edition);
        self.edition.replace(edition);
    }

    /// The listeners' certificate, when its files have changed; or why they cannot be used.
    pub fn look_at_certificate(&self, now: Instant) -> Option<Result<Arc<ServerConfig>, String>> {
        self.certificate.borrow_mut().as_mut()?.look(now)
    }

    /// Lines of the log go to `say` from here on.
    pub fn hear(&self, say: impl Fn(&str) + 'static) {
        self.say.replace(Some(Box::new(say)));
    }

    /// Counts a reload, keeps it for the status and writes it into the log.
    pub fn note_reload(&self, reloaded: &Reloaded) {
        let mut reloads = self.reloads.get();
        reloads.count(reloaded.end);
        self.reloads.set(reloads);
        let mut last = self.last.borrow_mut();
        if reloaded.status() != 200 {
            last.1 = Some(reloaded.clone());
        }
        last.0 = Some(reloaded.clone());
        if let Some(say) = &*self.say.borrow() {
            reloaded.log().iter().for_each(|line| say(line));
        }
    }

    /// Waits until nobody else asks all shards for something that must belong together.
    pub async fn take_turn(&self) -> Turn<'_> {
        while self.is_taken.replace(true) {
            Uring.sleep_until(Uring.now() + LOOK).await;
        }
        Turn(&self.is_taken)
    }

    /// Every shard forgets `what` is stored; the number of that purge.
    pub async fn purge(&self, what: Purge) -> u64 {
        let turn = self.take_turn().await;
        let number = self.purges.get() + 1;
        self.purges.set(number);
        let what = Arc::new(what);
        for shard in &self.shards {
            shard.order(Task::Purge(Arc::clone(&what), number)).await;
        }
        drop(turn);
        number
    }

    /// A report of every shard that lives; all of the same epoch.
    pub async fn reports(&self) -> Vec<Report> {
        let turn = self.take_turn().await;
        let mut reports = Vec::with_capacity(self.shards.len());
        for shard in &self.shards {
            reports.extend(shard.report().await);
        }
        drop(turn);
        reports
    }
}

/// Serves the admin plane until a successor does; one more connection may come here then.
pub async fn accept_loop(admin: Rc<Admin>, listener: <Uring as Host>::Listener) {
    while !admin.is_handed_over.get() {
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
            serve(&admin, link).await;
            admin.open.set(admin.open.get() - 1);
        });
    }
}

async fn serve(admin: &Rc<Admin>, mut link: Tcp) {
    let pool = BufPool::new();
    let (mut rx, mut tx) = (RxBuf::new(&pool), TxBuf::new(&pool));
    let patience = async {
        Uring.sleep_until(Uring.now() + PATIENCE).await;
        None
    };
    let Some(asked) = read_asked(&mut link, &mut rx).or(patience).await else {
        return;
    };
    let page = match asked {
        Asked::Page(asked) => {
            let patience = async {
                Uring.sleep_until(Uring.now() + PAGE_MAX).await;
                Page::error(504, "the gateway did not answer in time")
            };
            page(admin, &asked).or(patience).await
        }
        Asked::Nonsense(status) => Page::error(status, "the request is not well-formed HTTP/1.1"),
    };
    put_status_line(&mut tx, page.status);
    put_own_field(&mut tx, "content-type", page.media.as_bytes());
    put_decimal_field(&mut tx, "content-length", page.body.len() as u64);
    if page.status == 405 {
        tx.put(page.allow.as_bytes());
    }
    tx.put(b"cache-control: no-store\r\nconnection: close\r\n");
    tx.put(END_OF_HEAD);
    if !page.is_head {
        tx.put(page.body.as_bytes());
    }
    let answered = async {
        if host::flush(&mut link, &mut tx).await.is_ok() {
            host::Link::finish(&mut link);
            rx.clear();
            // Until the client has closed, so that no reset destroys the answer.
            while let Ok(1..) = host::read(&mut link, &mut rx).await {
                rx.clear();
            }
        }
    };
    let patience = Uring.sleep_until(Uring.now() + PATIENCE);
    answered.or(patience).await;
}

/// A request for a page.
struct Wanted {
    method: Method,
    path: Vec<u8>,
    query: Vec<u8>,
    /// What form of metrics the client reads.
    form: Form,
}

enum Asked {
    Page(Wanted),
    /// Not HTTP; the status to say so with.
    Nonsense(u16),
}

/// Reads a head; `None` when the client leaves. A body, if any, says nothing here.
async fn read_asked(link: &mut Tcp, rx: &mut RxBuf) -> Option<Asked> {
    let mut reader = RequestReader::new(HeadLimits::REQUEST);
    loop {
        let Ok(1..) = host::read(link, rx).await else {
            return None;
        };
        match reader.push(rx.data()) {
            Ok(None) => {}
            Ok(Some(head)) => {
                let accept = head
                    .fields(rx.data())
                    .find(|(name, _)| name.eq_ignore_ascii_case(b"accept"));
                return Some(Asked::Page(Wanted {
                    method: head.method,
                    path: head.path.bytes(rx.data()).to_vec(),
                    query: head.query.bytes(rx.data()).to_vec(),
                    form: Form::accepted(accept.map_or(b"", |(_, value)| value)),
                }));
            }
            Err(error) => return Some(Asked::Nonsense(error.kind().status())),
        }
    }
}

pub(super) struct Page {
    status: u16,
    media: &'static str,
    body: String,
    is_head: bool,
    /// Of a 405.
    allow: &'static str,
}

impl Page {
    pub(super) fn json(status: u16, value: &serde_json::Value) -> Self {
        let body = format!("{value:#}\n");
        Self {
            status,
            media: "application/json",
            body,
            is_head: false,
            allow: "allow: GET, HEAD\r\n",
        }
    }

    pub(super) fn error(status: u16, message: &str) -> Self {
        Self::json(
            status,
            &serde_json::json!({ "error": { "message": message } }),
        )
    }

    pub(super) fn only_post(message: &str, method: Method) -> Self {
        Self {
            allow: "allow: POST\r\n",
            is_head: method == Method::Head,
            ..Self::error(405, message)
        }
    }

    fn text(media: &'static str, body: String) -> Self {
        Self {
            status: 200,
            media,
            body,
            is_head: false,
            allow: "allow: GET, HEAD\r\n",
        }
    }
}

async fn page(admin: &Rc<Admin>, wanted: &Wanted) -> Page {
    let Wanted { method, form, .. } = *wanted;
    let path = wanted.path.as_slice();
    if path == b"/api/reload" {
        return reload_page(admin, method).await;
    }
    if path == b"/api/cache/purge" {
        return purge::page(admin, method, &wanted.query).await;
    }
    if !matches!(method, Method::Get | Method::Head) {
        return Page::error(
            405,
            "the admin plane answers GET and HEAD, and POST /api/reload and /api/cache/purge",
        );
    }
    let draining = admin.is_draining.get();
    let mut page = match path {
        b"/metrics" => {
            let reports = admin.reports().await;
            let edition = admin.edition();
            let known = (&*edition, &*admin.roster.borrow(), admin.reloads.get());
            Page::text(form.media(), status::metrics(known, &reports, form))
        }
        b"/api/status" => {
            let reports = admin.reports().await;
            let (edition, last) = (admin.edition(), admin.last.borrow());
            let reloads = status::reloads(edition.epoch, last.0.as_ref(), last.1.as_ref());
            let known = (&*edition, &*admin.roster.borrow());
            let status = status::status(known, &reports, draining, &reloads);
            Page::json(200, &status)
        }
        b"/api/config" => Page::text(
            "application/toml; charset=utf-8",
            status::config(&admin.edition().config),
        ),
        b"/livez" => Page::text("text/plain; charset=utf-8", "live\n".to_owned()),
        b"/readyz" if draining => Page::error(503, "the gateway is shutting down"),
        b"/readyz" => Page::text("text/plain; charset=utf-8", "ready\n".to_owned()),
        _ => Page::error(
            404,
            "there are /metrics, /api/status, /api/config, /api/reload, /api/cache/purge, /livez and /readyz",
        ),
    };
    page.is_head = method == Method::Head;
    page
}

/// Reloads in a task of its own, which ends also when this client leaves.
async fn reload_page(admin: &Rc<Admin>, method: Method) -> Page {
    if method != Method::Post {
        return Page::only_post("/api/reload answers POST", method);
    }
    let outcome = Rc::new(RefCell::new(None));
    let (mine, theirs) = (Rc::clone(admin), Rc::clone(&outcome));
    Uring.spawn(async move {
        let reloaded = reload::reload(&mine).await;
        theirs.replace(Some(reloaded));
    });
    loop {
        Uring.sleep_until(Uring.now() + LOOK).await;
        if let Some(reloaded) = outcome.take() {
            return Page::json(reloaded.status(), &reloaded.body());
        }
    }
}
