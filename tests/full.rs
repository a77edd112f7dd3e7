//! The program on a disk that is really full: a small one in memory, which needs Linux and namespaces for users.

#![cfg(target_os = "linux")]

mod common;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Ran, Up, init, run};

const DISK: &str = "CARRICK_TEST_SMALL_DISK";

/// Runs the next one again, where it may mount.
#[test]
fn a_full_disk_is_told_and_loses_nothing() {
    let place = tempfile::tempdir().expect("a folder");
    let ran = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount"])
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", "on_a_small_disk", "--nocapture"])
        .env(DISK, place.path())
        .status()
        .expect("`unshare` of util-linux is needed");
    assert!(ran.success(), "it failed, or this machine does not allow namespaces for users; see above");
}

/// Not a test by itself.
#[test]
fn on_a_small_disk() {
    let Some(disk) = std::env::var_os(DISK).map(PathBuf::from) else { return };
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=96m", "tmpfs"]).arg(&disk).status();
    assert!(mounted.is_ok_and(|status| status.success()), "nothing can be mounted at {}", disk.display());
    let elsewhere = tempfile::tempdir().expect("a folder");
    let [small, another, large] = ["small", "another", "large"].map(|name| elsewhere.path().join(name));
    fs::write(&small, vec![1; 3_000_000]).expect("written");
    fs::write(&another, vec![2; 200_000]).expect("written");
    fs::write(&large, (0..12_000_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>()).expect("written");
    let ballast = disk.join("ballast");
    fs::write(&ballast, vec![1; 32 << 20]).expect("room");
    let a = init(&disk, "a", None);
    let reserve = "\n[store.fjall]\nreserve_bytes = 25_000_000\n";
    File::options()
        .append(true)
        .open(a.join("carrick.toml"))
        .expect("there")
        .write_all(reserve.as_bytes())
        .expect("room");

    let node = Up::start(&a);
    let put = |path: &Path| run(&a, ["put".as_ref(), "--json".as_ref(), path.as_os_str()]);
    let cid = put(&small).ok().cid();
    let holds = |node: &Up| {
        assert!(node.run(["get", &cid]).ok().0.stdout == fs::read(&small).expect("there"));
    };

    // Content leaves the reserve, out of which the node goes on publishing.
    is_full(&put(&large), &disk);
    node.run(["publish", "t", "hi"]).ok();
    holds(&node);

    // Somebody else takes the reserve.
    fill_up(&disk.join("other"));
    is_full(&put(&large), &disk);
    is_full(&node.run(["get", &cid, "-o", "copy", "--json"]), Path::new("copy"));
    assert!(!a.join("copy").exists());
    is_full(&run(&disk, ["init", "b", "--json"]), Path::new("b"));
    node.run(["status"]).ok();
    holds(&node);

    // With room it goes on by itself, or after the start that it asks for.
    fs::remove_file(disk.join("other")).expect("there");
    fs::remove_file(&ballast).expect("there");
    let again = put(&another);
    if again.code() != 0 {
        is_full(&again, &disk);
        assert!(again.error()["hint"].to_string().contains("then start the node again"), "{}", again.error());
    }
    node.terminate();
    assert_eq!(node.end().1, 0);
    let node = Up::start(&a);
    put(&another).ok();
    holds(&node);
}

/// Kind, exit code, place and mend.
#[track_caller]
fn is_full(ran: &Ran, place: &Path) {
    assert_eq!(ran.code(), 5, "{}{}", ran.stdout(), ran.stderr());
    let error = ran.error();
    assert_eq!(error["kind"], "full");
    assert!(error["message"].to_string().contains(&place.display().to_string()), "{error}");
    assert!(error["hint"].to_string().contains("make room"), "{error}");
}

/// Writes until nothing fits any more.
fn fill_up(file: &Path) {
    let mut file = File::create(file).expect("made");
    for size in [1 << 16, 1] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
}
