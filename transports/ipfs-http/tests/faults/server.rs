//! A daemon that answers as it is told to: what a real one does not show when it is asked to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::{TcpSocket, UnixListener};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// What is answered to a command.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// 200 and a body.
    Good(&'static str),
    /// 200, and the names of all that was asked about, as pinned.
    Pinned,
    /// A status, headers, and a body.
    Status(u16, &'static str, &'static str),
    /// These bytes, which may be no HTTP, and then the connection ends.
    Raw(&'static [u8]),
    /// The same, but what comes with the request is taken bit by bit.
    Slow(&'static str),
    /// The same as a good one, but bit by bit.
    Trickle(&'static str),
    /// Nothing at all, and of what comes with the request nothing is taken.
    Deaf,
    /// Nothing at all.
    Silence,
    /// The head, these bytes, and then nothing more.
    Stall(&'static [u8]),
    /// The head, these bytes, and then the connection ends without the last chunk.
    Cut(&'static [u8]),
    /// The head, these bytes, and a trailer that says what failed.
    Failed(&'static [u8], &'static str),
    /// The head of an error, and then nothing.
    Refused,
    /// A byte now and then, for as long as they are taken.
    Drip,
    /// More and more bytes for as long as they are taken.
    Endless,
}

/// What goes slowly comes or is taken so much at once, and so much later the next.
const SLOW_PIECE: usize = 64 << 10;
const TRICKLE_PIECE: usize = 4 << 10;
const SLOW_PAUSE: Duration = Duration::from_millis(50);

/// How much the system holds of what it has not read.
const WINDOW: u32 = 64 << 10;

/// The id that it goes by.
pub(crate) const ID: &str = "12D3KooWJWoaqZhDaoEFshF7Rh1bpY9ohihFhzcW6d69Lr2NASuq";

/// What is said of a block that the daemon has not.
pub(crate) const ABSENT: &str = r#"{"Message":"pin: block was not found locally (offline): ipld: could not find bafk","Code":0,"Type":"error"}"#;

/// Answers of each command, the last one for ever. With a `?` it is the command without anything that it is asked with.
type Script = BTreeMap<&'static str, Vec<Answer>>;

fn lock(script: &Mutex<Script>) -> MutexGuard<'_, Script> {
    script.lock().expect("nobody panicked")
}

/// A server on loopback; ends with the runtime of its test.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) api: String,
    script: Arc<Mutex<Script>>,
    /// The commands that came, each with the `Authorization` it showed.
    asked: watch::Sender<Vec<(String, Option<String>)>>,
}

impl Server {
    /// One that is a good daemon but for what the script says.
    pub(crate) async fn start(script: impl IntoIterator<Item = (&'static str, Vec<Answer>)>) -> Self {
        Self::start_behind(None, script).await
    }

    /// The same, behind TLS if there is one.
    pub(crate) async fn start_behind(
        tls: Option<TlsAcceptor>,
        script: impl IntoIterator<Item = (&'static str, Vec<Answer>)>,
    ) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(WINDOW).expect("it is allowed");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("binds");
        let listener = socket.listen(1_024).expect("listens");
        let addr = listener.local_addr().expect("bound");
        let api = if tls.is_some() {
            format!("https://localhost:{}", addr.port())
        } else {
            format!("http://{addr}")
        };
        let server = Self::of(api, script);
        let this = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (this, tls) = (this.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => this.serve(tls.accept(stream).await?).await,
                        None => this.serve(stream).await,
                    }
                });
            }
        });
        server
    }

    /// The same, on a socket, which holds little of what nobody reads.
    pub(crate) fn start_on_socket(
        path: &Path,
        script: impl IntoIterator<Item = (&'static str, Vec<Answer>)>,
    ) -> Self {
        let listener = UnixListener::bind(path).expect("binds");
        let server = Self::of(format!("/unix{}", path.display()), script);
        let this = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(this.clone().serve(stream));
            }
        });
        server
    }

    fn of(api: String, script: impl IntoIterator<Item = (&'static str, Vec<Answer>)>) -> Self {
        let mut all = Script::from([
            (
                "id",
                vec![Answer::Good(
                    r#"{"ID":"12D3KooWJWoaqZhDaoEFshF7Rh1bpY9ohihFhzcW6d69Lr2NASuq","Addresses":null}"#,
                )],
            ),
            ("version", vec![Answer::Good(r#"{"Version":"0.43.0","Commit":"","Repo":"18"}"#)]),
            ("pubsub/ls", vec![Answer::Good(r#"{"Strings":["uY2Fycmljay9mYXVsdHMvcmF3"]}"#)]),
            (
                "pubsub/peers",
                vec![
                    Answer::Status(
                        500,
                        "",
                        r#"{"Message":"URL arg must be multibase encoded","Code":0,"Type":"error"}"#,
                    ),
                    Answer::Good(r#"{"Strings":null}"#),
                ],
            ),
            (
                "swarm/peers",
                vec![Answer::Good(
                    r#"{"Peers":[{"Addr":"/ip4/127.0.0.1/tcp/1","Peer":"12D3KooWRm8J3iL796zPFi2EtGGtUJn58AG67gcRzQ4FENEemvoK"}]}"#,
                )],
            ),
        ]);
        all.insert("pin/add", vec![Answer::Status(500, "", ABSENT), Answer::Pinned]);
        all.insert("routing/provide", vec![Answer::Good("")]);
        for command in ["block/get?", "dag/import?", "pin/add?", "routing/findprovs?"] {
            all.insert(command, vec![Answer::Status(400, "", "argument \"it\" is required")]);
        }
        all.extend(script);
        Self { api, script: Arc::new(Mutex::new(all)), asked: watch::Sender::default() }
    }

    /// What came until now.
    pub(crate) fn asked(&self) -> Vec<(String, Option<String>)> {
        self.asked.borrow().clone()
    }

    /// Waits until a command came so many times.
    pub(crate) async fn until_asked(&self, command: &str, times: usize) {
        let mut asked = self.asked.subscribe();
        let often = |asked: &Vec<(String, _)>| asked.iter().filter(|(it, _)| it == command).count() >= times;
        asked.wait_for(often).await.expect("it is here");
    }

    /// One request a connection.
    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        let (mut head, mut line) = (Vec::new(), String::new());
        while stream.read_line(&mut line).await? > 2 {
            head.push(std::mem::take(&mut line));
        }
        let path = head.first().and_then(|first| first.split(' ').nth(1)).unwrap_or_default().to_owned();
        let asked = path.trim_start_matches("/api/v0/");
        let mut command = asked.split('?').next().unwrap_or_default().to_owned();
        // Some are asked for nothing, to see whether they are there.
        if command == asked && lock(&self.script).contains_key(&*format!("{asked}?")) {
            command += "?";
        }
        let header = |name: &str| {
            let lower = format!("{name}:");
            let found = head.iter().find(|line| line.to_lowercase().starts_with(&lower))?;
            Some(found[lower.len()..].trim().to_owned())
        };
        let (length, chunked) = (header("content-length"), header("transfer-encoding").is_some());
        self.asked.send_modify(|asked| asked.push((command.clone(), header("authorization"))));
        let answered = self.next(if command.ends_with('?') { &command } else { asked });
        if let Some(mut length) = length.and_then(|length| length.parse::<usize>().ok()) {
            let piece = match answered {
                Answer::Deaf => std::future::pending().await,
                Answer::Slow(_) => SLOW_PIECE,
                _ => length,
            };
            while length > 0 {
                length -= stream.read_exact(&mut vec![0; piece.min(length)]).await?;
                if piece < length {
                    tokio::time::sleep(SLOW_PAUSE).await;
                }
            }
        }
        let mut more = chunked;
        while more {
            line.clear();
            stream.read_line(&mut line).await?;
            let length = usize::from_str_radix(line.trim(), 16).unwrap_or_default();
            // Each piece ends with a line of its own, also the last one, which is empty.
            stream.read_exact(&mut vec![0; length + 2]).await?;
            more = length > 0;
        }
        answer(stream.get_mut(), answered).await?;
        stream.get_mut().shutdown().await
    }

    /// Of a command with its query there may be answers of their own.
    fn next(&self, asked: &str) -> Answer {
        let mut script = lock(&self.script);
        let command = asked.split('?').next().unwrap_or_default();
        let at = [asked, command].into_iter().find(|name| script.contains_key(name));
        let Some(answers) = at.and_then(|name| script.get_mut(name)) else {
            return Answer::Status(404, "Content-Type: text/plain\r\n", "404 page not found");
        };
        match if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() } {
            Answer::Pinned => Answer::Good(pins(asked).leak()),
            answer => answer,
        }
    }
}

fn pins(asked: &str) -> String {
    let query = asked.split_once('?').map_or("", |(_, query)| query);
    let names: Vec<_> = query.split('&').filter_map(|pair| pair.strip_prefix("arg=")).collect();
    format!(r#"{{"Pins":["{}"]}}"#, names.join(r#"",""#))
}

const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nServer: kubo/0.43.0\r\nTrailer: X-Stream-Error\r\n\
                         Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n";

async fn answer(to: &mut (impl AsyncWrite + Unpin), answer: Answer) -> std::io::Result<()> {
    let chunk = |bytes: &[u8]| {
        let head = format!("{:x}\r\n", bytes.len());
        [CHUNKED, head.as_bytes(), bytes, b"\r\n"].concat()
    };
    match answer {
        Answer::Pinned => unreachable!("it was written out"),
        Answer::Good(body) | Answer::Slow(body) => {
            to.write_all(&[&chunk(body.as_bytes())[..], b"0\r\n\r\n"].concat()).await
        }
        Answer::Trickle(body) => {
            to.write_all(CHUNKED).await?;
            for piece in body.as_bytes().chunks(TRICKLE_PIECE) {
                let head = format!("{:x}\r\n", piece.len());
                to.write_all(&[head.as_bytes(), piece, b"\r\n"].concat()).await?;
                tokio::time::sleep(SLOW_PAUSE).await;
            }
            to.write_all(b"0\r\n\r\n").await
        }
        Answer::Status(status, headers, body) => {
            let length = body.len();
            let head = format!("HTTP/1.1 {status} Said\r\nContent-Length: {length}\r\nConnection: close\r\n");
            to.write_all(format!("{head}{headers}\r\n{body}").as_bytes()).await
        }
        Answer::Raw(bytes) => to.write_all(bytes).await,
        Answer::Silence | Answer::Deaf => std::future::pending().await,
        Answer::Stall(bytes) => {
            to.write_all(&chunk(bytes)).await?;
            std::future::pending().await
        }
        Answer::Cut(bytes) => to.write_all(&chunk(bytes)).await,
        Answer::Failed(bytes, why) => {
            let end = format!("0\r\nX-Stream-Error: {why}\r\n\r\n");
            to.write_all(&[&chunk(bytes), end.as_bytes()].concat()).await
        }
        Answer::Refused => {
            to.write_all(b"HTTP/1.1 500 Said\r\nContent-Length: 100\r\n\r\n{").await?;
            std::future::pending().await
        }
        Answer::Drip => {
            to.write_all(CHUNKED).await?;
            loop {
                to.write_all(b"1\r\n \r\n").await?;
                tokio::time::sleep(SLOW_PAUSE).await;
            }
        }
        Answer::Endless => {
            to.write_all(CHUNKED).await?;
            let chunk = [&b"10000\r\n"[..], &[b'x'; 0x10000], b"\r\n"].concat();
            loop {
                to.write_all(&chunk).await?;
            }
        }
    }
}
