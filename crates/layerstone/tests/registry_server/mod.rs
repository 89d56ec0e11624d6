//! `docker-registry`, on this machine only and for one test.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A registry that ends with the test.
pub(crate) struct RealRegistry {
    directory: tempfile::TempDir,
    host: String,
    child: Child,
}

impl RealRegistry {
    /// Starts one, open or for one user; `None` where the program is missing, which has been said then.
    pub(crate) fn start(test: &str, user: Option<(&str, &str)>) -> Option<Self> {
        Self::start_as(test, user, "")
    }

    /// Starts one that speaks TLS with this certificate.
    pub(crate) fn start_with_tls(test: &str, certificate: &Path, key: &Path) -> Option<Self> {
        let tls = format!("  tls:\n    certificate: {}\n    key: {}\n", certificate.display(), key.display());
        Self::start_as(test, None, &tls)
    }

    fn start_as(test: &str, user: Option<(&str, &str)>, tls: &str) -> Option<Self> {
        let mut command = layerstone_testing::tool(test, "docker-registry")?;
        let directory = tempfile::tempdir().expect("a temporary directory");
        // The port is free now; whoever takes it meanwhile makes the registry end at once, which is seen below.
        let port =
            TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address").port();
        let host = format!("127.0.0.1:{port}");
        let auth = match user {
            None => String::new(),
            Some((name, password)) => {
                let file = directory.path().join("htpasswd");
                fs::write(&file, format!("{name}:{}\n", bcrypt(password))).expect("htpasswd");
                format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", file.display())
            }
        };
        let data = directory.path().join("data");
        let config = format!(
            "version: 0.1\nlog:\n  accesslog:\n    disabled: false\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {host}\n{tls}validation:\n  manifests:\n    urls:\n      allow: ['.*']\n{auth}",
            data.display()
        );
        let path = directory.path().join("config.yml");
        fs::write(&path, config).expect("the configuration");
        let log = fs::File::create(directory.path().join("log")).expect("a log");
        let out = log.try_clone().expect("a log");
        let child = command.arg("serve").arg(&path).stdout(Stdio::from(out)).stderr(Stdio::from(log));
        let mut registry = Self { child: child.spawn().expect("docker-registry starts"), directory, host };
        let until = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(&registry.host).is_err() {
            let ended = registry.child.try_wait().expect("its state");
            assert!(
                ended.is_none() && Instant::now() < until,
                "docker-registry: {ended:?}\n{}",
                registry.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(registry)
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// How often something was asked for.
    pub(crate) fn requests(&self, method: &str, path: &str) -> usize {
        self.log().lines().filter(|line| line.contains(&format!("\"{method} {path} "))).count()
    }

    /// How often a part of something was given.
    pub(crate) fn parts(&self, path: &str) -> usize {
        let wanted = format!("\"GET {path} HTTP/1.1\" 206 ");
        self.log().lines().filter(|line| line.contains(&wanted)).count()
    }

    /// A PUT without a client.
    pub(crate) fn put(&self, path: &str, content_type: &str, body: &[u8]) {
        let answer = self.exchange("PUT", path, content_type, body);
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    }

    /// A GET without a client: the answer, as far as it is text.
    pub(crate) fn get(&self, path: &str) -> String {
        self.exchange("GET", path, "", b"")
    }

    /// Puts a small blob there.
    pub(crate) fn put_blob(&self, repository: &str, body: &[u8]) {
        let answer = self.exchange(
            "POST",
            &format!("/v2/{repository}/blobs/uploads/"),
            "application/octet-stream",
            b"",
        );
        let location = answer.lines().find_map(|line| line.strip_prefix("Location: ")).expect("a location");
        let path = location.trim_start_matches("http://").trim_start_matches(&self.host);
        let digest = layerstone_oci::Digest::of(body);
        self.put(&format!("{path}&digest={digest}"), "application/octet-stream", body);
    }

    fn exchange(&self, method: &str, path: &str, content_type: &str, body: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.host).expect("a connection");
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
            self.host,
            body.len()
        );
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).expect("a request");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The hash of a password as htpasswd files have it.
fn bcrypt(password: &str) -> String {
    // One hash for each password of these tests, made with `htpasswd -B`: bcrypt is slow by design, and a crate of its own.
    match password {
        "s3cret" => "$2y$05$FCE1gh2yLQBls6/99olDK.km7o/G1RKSZKZexJiRR8/Ws55BYYA9e".into(),
        "helped" => "$2y$05$ijCBFLuebrtOtOSwpxawpORUxiUlSrIcYUULmtcfRuGP74t7wF6YC".into(),
        other => panic!("no hash for {other}"),
    }
}

/// A proxy that knows `CONNECT`, and connects to one place whatever is asked for.
pub(crate) struct Proxy {
    address: SocketAddr,
    targets: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Proxy {
    pub(crate) fn start(place: &str) -> Self {
        Self::with_pause(place, Duration::ZERO)
    }

    /// One that pauses after each 64 KiB on their way to the client.
    pub(crate) fn with_pause(place: &str, pause: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let (targets, stop): (Arc<Mutex<Vec<String>>>, Arc<AtomicBool>) = Default::default();
        let (log, ended, place) = (Arc::clone(&targets), Arc::clone(&stop), place.to_owned());
        let thread = std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let (log, place) = (Arc::clone(&log), place.clone());
                std::thread::spawn(move || tunnel(client, &place, pause, &log));
            }
        });
        Self { address, targets, stop, thread: Some(thread) }
    }

    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// What it was asked to connect to.
    pub(crate) fn targets(&self) -> Vec<String> {
        self.targets.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn tunnel(mut client: TcpStream, place: &str, pause: Duration, log: &Mutex<Vec<String>>) {
    let _ = client.set_read_timeout(Some(Duration::from_secs(20)));
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && head.len() < 8192 {
        match client.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut words = head.split_whitespace();
    let (Some("CONNECT"), Some(target)) = (words.next(), words.next()) else { return };
    log.lock().unwrap().push(target.to_owned());
    let Ok(mut server) = TcpStream::connect(place) else { return };
    if client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").is_err() {
        return;
    }
    let (Ok(mut from), Ok(mut to)) = (client.try_clone(), server.try_clone()) else { return };
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Write);
    });
    let mut buffer = vec![0; 64 << 10];
    while let Ok(n) = server.read(&mut buffer) {
        if n == 0 || client.write_all(&buffer[..n]).is_err() {
            return;
        }
        std::thread::sleep(pause);
    }
}
