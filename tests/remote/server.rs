//! Real servers: `redis-server` of the system, started for a test and ended with it.

use rustix::process::{Pid, Signal, kill_process};
use shardgate::base::bufpool::BufPool;
use shardgate::base::bytes::TxBuf;
use shardgate::cache::remote::resp::{Reply, Scanner, put_command, read};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Longest that a server may take until it answers.
const START_MAX: u32 = 1000;

/// A server that runs.
pub(crate) struct Server {
    pub(crate) at: SocketAddr,
    args: Vec<String>,
    child: Option<Child>,
    folder: tempfile::TempDir,
}

/// A port that is free now.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// Lets other threads run; for this thread waits for a process.
pub(crate) fn nap(millis: u64) {
    std::thread::park_timeout(Duration::from_millis(millis));
}

impl Server {
    /// Starts one with further arguments, which may name files of [`Server::folder`].
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), args)
    }

    pub(crate) fn start_in(folder: tempfile::TempDir, args: &[&str]) -> Self {
        let mut server = Self {
            at: (Ipv4Addr::LOCALHOST, free_port()).into(),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            child: None,
            folder,
        };
        server.restart();
        server
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts it again, at the same place.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let port = self.at.port().to_string();
        let version = Command::new("redis-server").arg("--version").output();
        assert!(
            version.is_ok(),
            "no redis-server; scripts/setup installs it, or: apt-get install redis-server"
        );
        // It ends with the thread that a test runs on, however that ends.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "redis-server"])
            .args(["--port", &port, "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .args(["--logfile", "log"])
            .args(&self.args)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.unwrap());
        for _ in 0..START_MAX {
            if let Ok(mut link) = TcpStream::connect(self.at)
                && link.write_all(b"PING\r\n").is_ok()
                && link.read(&mut [0; 64]).is_ok_and(|got| got > 0)
            {
                return;
            }
            nap(10);
        }
        let log = std::fs::read_to_string(self.folder.path().join("log"));
        panic!("redis-server does not answer: {log:?}");
    }

    /// Ends it at once, as a machine that fails.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().unwrap().id();
        let id = Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
        kill_process(id, signal).unwrap();
    }

    /// From here on it does nothing, and the kernel goes on for it.
    pub(crate) fn stall(&self) {
        self.signal(Signal::STOP);
    }

    /// It goes on.
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Asks it something.
    pub(crate) fn ask(&self, words: &[&str]) -> Reply {
        self.ask_after(&[], words)
    }

    /// Asks it something after something else, on the same connection.
    pub(crate) fn ask_after(&self, before: &[&str], words: &[&str]) -> Reply {
        let mut link = TcpStream::connect(self.at).unwrap();
        link.set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let mut reply = Reply::Null;
        for words in [before, words].iter().filter(|words| !words.is_empty()) {
            let words: Vec<_> = words.iter().map(|word| word.as_bytes()).collect();
            let mut tx = TxBuf::new(&BufPool::new());
            put_command(&mut tx, &words);
            link.write_all(tx.unsent()).unwrap();
            let (mut scanner, mut data) = (Scanner::default(), Vec::new());
            reply = loop {
                if let Some(len) = scanner.push(&data).unwrap() {
                    break read(&data[..len]).unwrap();
                }
                let mut piece = [0; 16 << 10];
                let got = match link.read(&mut piece) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    got => got.unwrap(),
                };
                assert!(got > 0, "the server closed the connection");
                data.extend_from_slice(&piece[..got]);
            };
        }
        reply
    }

    /// Asks it something that it must do.
    pub(crate) fn order(&self, words: &[&str]) -> Reply {
        let reply = self.ask(words);
        assert_eq!(reply.error(), None, "{words:?}: {reply:?}");
        reply
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.resume();
        }
        self.kill();
    }
}
