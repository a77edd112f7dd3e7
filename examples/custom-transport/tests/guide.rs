//! The guide is made of this crate: each of its snippets stands, word for word, in the file that it names.
//!
//! A line `<!-- from src/wire.rs -->` above a snippet names the file. A snippet is found by its first line, which must be
//! there once. `UPDATE_DOCS=1 cargo test --test guide` copies all of them anew.

use std::fs;
use std::path::Path;

const GUIDE: &str = "../../docs/plugins/transport.md";

#[test]
fn snippets_of_the_guide_are_this_crate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let guide = fs::read_to_string(root.join(GUIDE)).expect("the guide");
    let (mut fresh, mut stale, mut lines) = (String::new(), vec![], guide.lines());
    while let Some(line) = lines.next() {
        fresh += &format!("{line}\n");
        let named = line.strip_prefix("<!-- from ").and_then(|rest| rest.strip_suffix(" -->"));
        let Some(file) = named else { continue };
        fresh += &format!("{}\n", lines.next().expect("a fence"));
        let snippet: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
        let source = fs::read_to_string(root.join(file)).expect(file);
        let found = find(&snippet, &source).unwrap_or_else(|why| panic!("{file}: {why}: {}", snippet[0]));
        if found != snippet {
            stale.push(format!("{file}: {}", snippet[0]));
        }
        fresh += &format!("{}\n```\n", found.join("\n"));
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(root.join(GUIDE), fresh).expect("writes");
    } else {
        assert!(
            stale.is_empty(),
            "no longer as in the crate; set UPDATE_DOCS=1 to copy anew:\n{}",
            stale.join("\n")
        );
    }
}

#[test]
fn every_file_is_shown_or_pointed_at() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let guide = fs::read_to_string(root.join(GUIDE)).expect("the guide");
    for folder in ["src", "tests"] {
        for entry in root.join(folder).read_dir().expect(folder).flatten() {
            let file = format!("{folder}/{}", entry.file_name().to_string_lossy());
            assert!(guide.contains(&file), "the guide does not mention {file}");
        }
    }
}

/// The promise to who writes a transport. Neither comments count, nor the program that shows it.
#[test]
fn it_is_less_than_600_lines_of_code() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = src.read_dir().expect("src").flatten().filter(|file| file.file_name() != "main.rs");
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
    let count = |path| fs::read_to_string(path).expect("a source").lines().filter(is_code).count();
    let lines: usize = files.map(|file| count(file.path())).sum();
    assert!(lines < 600, "{lines} lines");
}

/// The lines of a source that a snippet shows, without their common indentation.
fn find<'a>(snippet: &[&str], source: &'a str) -> Result<Vec<&'a str>, &'static str> {
    let (first, last) = (snippet[0], snippet[snippet.len() - 1]);
    let lines: Vec<&str> = source.lines().collect();
    let mut places = (0..lines.len()).filter(|at| lines[*at].trim() == first.trim());
    let start = places.next().ok_or("its first line is not there")?;
    if places.next().is_some() {
        return Err("its first line is there more than once");
    }
    let indent = lines[start].len() - lines[start].trim_start().len();
    let rest = lines[start..].iter().map(|line| line.get(indent..).unwrap_or(""));
    // It ends with the line that it ended with, such as a brace; that one may stand in the middle of it, too.
    let mut ends = snippet.iter().filter(|line| **line == last).count();
    let shown = rest.take_while(|line| {
        let more = ends > 0;
        ends -= usize::from(more && *line == last);
        more
    });
    Ok(shown.collect())
}
