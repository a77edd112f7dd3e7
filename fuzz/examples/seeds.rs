//! Writes good inputs to `corpus/`, from which the fuzzer begins.

use std::fs;
use std::path::Path;

fn main() -> std::io::Result<()> {
    for (target, decoders) in carrick_fuzz::TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        fs::create_dir_all(&folder)?;
        for decoder in decoders() {
            for (at, sample) in decoder.samples.iter().enumerate() {
                fs::write(folder.join(format!("{}-{at}", decoder.name)), sample)?;
            }
        }
    }
    Ok(())
}
