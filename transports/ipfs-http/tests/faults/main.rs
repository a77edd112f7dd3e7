//! What a daemon does that hangs, lies, breaks off or is none; on a server that does it when it is told to.

mod flaps;
#[path = "../common/node.rs"]
mod node;
mod puts;
mod server;
mod starts;
mod store;
mod tls;
mod waits;

use std::iter::successors;
use std::sync::Arc;
use std::time::Duration;

use carrick_core::{
    Block, Delivery, Error, ErrorKind, Event, NetworkId, Node, NodeBuilder, PeerAddr, RAW, Topic, TopicRules,
    Transport, Want,
};
use carrick_transport_ipfs_http::{Auth, IpfsHttpConfig, Scheme, Seconds};
use futures::StreamExt as _;
use server::{Answer, ID, Server};
use tokio::time::timeout;

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(60);

fn config(server: &Server) -> IpfsHttpConfig {
    let mut config = IpfsHttpConfig::default();
    config.api = server.api.parse().expect("an address");
    config.request_timeout = Seconds(Duration::from_secs(2));
    config.idle_timeout = Seconds(Duration::from_secs(2));
    config.pubsub = false;
    config
}

fn builder() -> NodeBuilder {
    Node::builder().network(NetworkId::new("faults").expect("a network"))
}

async fn open(config: IpfsHttpConfig) -> Result<(Node, Arc<dyn Transport>), Error> {
    node::over(builder(), config).await
}

fn right() -> Block {
    Block::new(RAW, &b"hello world"[..])
}

/// What a fetch of a block ends with where the daemon answers so.
async fn fetched(answer: Answer) -> Result<(), Error> {
    let server = Server::start([("block/get", vec![answer])]).await;
    let (node, transport) = open(config(&server)).await.expect("opens");
    // The transport learns of its peers by itself; without any it would ask in another way.
    let want = Want::new(*right().cid(), Duration::from_secs(20));
    server.until_asked("swarm/peers", 1).await;
    transport.peers().await.expect("peers");
    let fetch = transport.fetch().expect("it fetches");
    let fetched = timeout(PATIENCE, fetch.block(&want)).await.expect("it ends");
    let checked = fetched.and_then(|fetched| fetched.claim.check()).map(drop);
    node.close().await.expect("closes");
    checked
}

fn told(answer: Result<(), Error>, kind: ErrorKind, words: &str) {
    let error = answer.expect_err("it fails");
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

#[tokio::test]
async fn a_good_answer_is_a_block() {
    fetched(Answer::Good("hello world")).await.expect("a block");
}

#[tokio::test]
async fn a_daemon_that_stops_in_an_answer_is_given_up() {
    told(fetched(Answer::Stall(b"hello")).await, ErrorKind::Timeout, "block/get at http://127.0.0.1:");
}

#[tokio::test]
async fn a_daemon_that_never_answers_is_given_up() {
    let server = Server::start([("swarm/connect", vec![Answer::Silence])]).await;
    let (_node, transport) = open(config(&server)).await.expect("opens");
    let far: PeerAddr =
        format!("/ip4/127.0.0.1/tcp/1/p2p/{}", "12D3KooWRm8J3iL796zPFi2EtGGtUJn58AG67gcRzQ4FENEemvoK")
            .parse()
            .expect("an address");
    let error = timeout(PATIENCE, transport.dial(&far)).await.expect("it ends").expect_err("no answer");
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    let want = Want::new(*right().cid(), Duration::from_millis(200));
    let silent = Server::start([("block/get", vec![Answer::Silence])]).await;
    let (_node, transport) = open(config(&silent)).await.expect("opens");
    transport.peers().await.expect("peers");
    let fetch = transport.fetch().expect("it fetches").block(&want);
    let error = timeout(PATIENCE, fetch).await.expect("it ends").expect_err("nobody has it");
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_answer() {
    told(fetched(Answer::Cut(b"hello world")).await, ErrorKind::Unreachable, "the connection broke");
}

/// The bytes are all there: only the trailer says that they are not.
#[tokio::test]
async fn what_a_trailer_says_counts() {
    let failed = fetched(Answer::Failed(b"hello world", "context deadline exceeded")).await;
    told(failed, ErrorKind::Timeout, "context deadline exceeded");
}

#[tokio::test]
async fn other_bytes_are_told_from_the_block() {
    told(fetched(Answer::Good("hello World")).await, ErrorKind::Integrity, "do not hash to");
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    told(fetched(Answer::Endless).await, ErrorKind::TooLarge, "longer than 2097152 bytes");
}

#[tokio::test]
async fn what_the_daemon_says_is_passed_on_with_its_kind() {
    let said = |message| Answer::Status(500, "Content-Type: application/json\r\n", message);
    let disk = said(r#"{"Message":"write: no space left on device","Code":0,"Type":"error"}"#);
    told(fetched(disk).await, ErrorKind::Full, "no space left");
    told(fetched(said("oh no")).await, ErrorKind::Unexpected, "oh no");
    let denied = Answer::Status(403, "", "Kubo RPC Access Denied");
    told(fetched(denied).await, ErrorKind::Unauthorized, "access denied");
    for status in [502, 503, 504] {
        let proxy = Answer::Status(status, "", "<html>Bad Gateway</html>");
        told(fetched(proxy).await, ErrorKind::Unreachable, "the daemon is not there");
    }
    told(fetched(Answer::Status(429, "", "slow down")).await, ErrorKind::Busy, "slow down");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = Server::start([]).await;
    let to: &'static str = format!("Location: {}/api/v0/block/get\r\n", other.api).leak();
    for status in [301, 302, 307, 308] {
        told(fetched(Answer::Status(status, to, "")).await, ErrorKind::Unreachable, "redirects to 127.0.0.1");
    }
    assert_eq!(other.asked(), [], "nobody went there");
}

/// Why a node does not open where the daemon answers so.
async fn refused(script: impl IntoIterator<Item = (&'static str, Vec<Answer>)>) -> Error {
    let server = Server::start(script).await;
    let mut config = config(&server);
    config.pubsub = true;
    open(config).await.expect_err("it does not open")
}

#[tokio::test]
async fn a_start_that_cannot_work_says_what_to_do() {
    let page = || vec![Answer::Status(200, "Content-Type: text/html\r\n", "<html>welcome</html>")];
    let off = r#"{"Message":"experimental pubsub feature not enabled, run daemon with --enable-pubsub-experiment to use","Code":0,"Type":"error"}"#;
    let cases = [
        (refused([("id", page())]).await, ErrorKind::Unexpected, "not what Kubo says", "`api`"),
        (
            refused([("id", vec![Answer::Status(404, "", "<html>nothing</html>")])]).await,
            ErrorKind::Unexpected,
            "a page",
            "`api`",
        ),
        (
            refused([("id", vec![Answer::Status(403, "", "no")])]).await,
            ErrorKind::Unauthorized,
            "access denied",
            "`auth`",
        ),
        (
            refused([("pubsub/ls", vec![Answer::Status(500, "", off)])]).await,
            ErrorKind::Config,
            "pubsub is off",
            "ipfs config --json Pubsub.Enabled true",
        ),
        (
            refused([("pubsub/peers", vec![Answer::Good(r#"{"Strings":null}"#)])]).await,
            ErrorKind::Unsupported,
            "before 0.11",
            "newer",
        ),
        (refused([("id", vec![Answer::Silence])]).await, ErrorKind::Timeout, "no answer", "overloaded"),
    ];
    for (error, kind, words, mend) in cases {
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains(mend)), "{error}: {:?}", error.hint());
    }
}

#[tokio::test]
async fn a_daemon_that_is_not_there_is_named_with_its_address() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("binds").local_addr().expect("bound");
    let mut config = IpfsHttpConfig::default();
    config.api = format!("http://{free}").parse().expect("an address");
    let error = open(config).await.expect_err("nobody is there");
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(error.to_string().contains(&free.to_string()), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("ipfs daemon")), "{error:?}");
    // The system's own error can be told apart by whoever asks.
    let behind = successors(Some(&error as &dyn std::error::Error), |error| error.source());
    let refused = behind.filter_map(|error| error.downcast_ref::<std::io::Error>()).next();
    assert_eq!(refused.map(std::io::Error::kind), Some(std::io::ErrorKind::ConnectionRefused), "{error:?}");
}

#[tokio::test]
async fn the_secret_is_shown_to_the_daemon_and_to_nobody_else() {
    let server = Server::start([]).await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "user:s3cret\n").expect("written");
    let mut config = config(&server);
    config.auth = Some(Auth { scheme: Scheme::Basic, file: Some(file.path().into()), env: None });
    let shown = format!("{config:?}");
    let (_node, transport) = open(config).await.expect("opens");
    assert!(server.asked().iter().all(|(_, auth)| auth.as_deref() == Some("Basic dXNlcjpzM2NyZXQ=")));
    assert!(!format!("{shown}{transport:?}").contains("s3cret"));
}

/// Two subscriptions, the first of which breaks; lines that are none among those that are.
#[tokio::test]
async fn a_broken_subscription_is_opened_again_and_the_gap_is_told() {
    let junk = b"<html>\n{}\n{\"from\":\"x\",\"data\":\"uAA\",\"seqno\":\"uAQ\"}\n";
    let good = format!(r#"{{"from":"{ID}","data":"uaGVsbG8","seqno":"uAQ","topicIDs":["uYQ"]}}{}"#, '\n');
    // A line that is longer than any message goes before it, on the same subscription.
    let lines: &'static str = format!("{}\n{good}", "x".repeat(300_000)).leak();
    let server =
        Server::start([("pubsub/sub", vec![Answer::Cut(junk), Answer::Stall(lines.as_bytes())])]).await;
    let mut config = config(&server);
    config.pubsub = true;
    let topic = Topic::new("raw").expect("a topic");
    let mut rules = TopicRules::default();
    rules.raw = true;
    let (node, _) = node::over(builder().topic(topic.clone(), rules), config).await.expect("opens");
    let mut events = node.events();
    let mut subscription = node.subscribe(&topic).await.expect("subscribes");
    let message = async {
        loop {
            if let Some(Delivery::Message(message)) = subscription.next().await {
                return message;
            }
        }
    };
    let message = timeout(PATIENCE, message).await.expect("it comes");
    assert_eq!(&message.payload()[..], b"hello");
    let gap = async { while !matches!(events.next().await, Some(Event::Gap { .. })) {} };
    timeout(PATIENCE, gap).await.expect("it is told");
    let counters = &node.status().await.expect("status").counters["ipfs-http"];
    let counted = ["malformed", "oversized", "resubscribed"].map(|name| counters[name]);
    assert_eq!(counted, [3, 1, 1]);
}

#[tokio::test]
async fn a_daemon_that_names_itself_takes_no_place_of_others() {
    const OTHER: &str = "12D3KooWRm8J3iL796zPFi2EtGGtUJn58AG67gcRzQ4FENEemvoK";
    let step =
        |responses: String| format!(r#"{{"Type":4,"Responses":[{responses}]}}"#).leak() as &'static str;
    let one = Answer::Good(step(format!(r#"{{"ID":"{ID}"}}"#)));
    let two = Answer::Good(step(format!(r#"{{"ID":"{ID}"}},{{"ID":"{OTHER}"}}"#)));
    let server = Server::start([("routing/findprovs", vec![one, two])]).await;
    let (_node, transport) = open(config(&server)).await.expect("opens");
    let fetch = transport.fetch().expect("it fetches");
    let found = timeout(PATIENCE, fetch.providers(right().cid(), 1)).await.expect("it ends").expect("asks");
    let names: Vec<_> = found.iter().filter_map(|addr| addr.peer).map(|id| id.to_string()).collect();
    assert_eq!(names, [OTHER]);
}
