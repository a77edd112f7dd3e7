//! `[store.ipfs-http]`.

use std::path::PathBuf;

use crate::access::daemon_table;

daemon_table! {
    /// The table `[store.ipfs-http]`.
    IpfsHttpStoreConfig {
        /// The folder of what the daemon cannot hold: which blocks there are, pins, metadata. A relative path counts from the
        /// node's data folder. Made when it is missing. Default `ipfs-http`.
        path: PathBuf = "ipfs-http".into(),
        /// Bytes of blocks kept at most; a `put` beyond it fails with `Full`. Default: no bound but the daemon's disk.
        max_bytes: Option<u64> = None,
    }
}

#[cfg(test)]
mod tests {
    use carrick_core::config::Config;
    use carrick_core::registry::{Kind, Registry};

    #[test]
    fn its_keys_are_known_and_others_are_refused() {
        let registry = Registry::linked().expect("no name has two owners");
        let keys = registry.find(Kind::Store, "ipfs-http").expect("linked").keys();
        assert_eq!((keys[0], keys[keys.len() - 1]), ("api", "max_bytes"));
        let toml = "[node]\nnetwork = \"n\"\ntransport = \"ipfs-http\"\nstore = \"ipfs-http\"\n[store.ipfs-http]\npubsub = true";
        let refused =
            Config::from_toml(toml).expect("TOML").check(&registry).expect_err("a key of the transport");
        assert!(refused.detail().contains("[store.ipfs-http] pubsub: unknown key"), "{refused}");
    }
}
