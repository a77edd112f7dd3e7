//! Proves that the relative links of all Markdown files lead to a file and, behind a `#`, to a heading of it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Result;

/// Fails with a line for each link that leads nowhere.
pub(crate) fn check(root: &Path) -> Result<()> {
    let mut files = Vec::new();
    find(root, &mut files)?;
    files.sort();
    let mut faults = Vec::new();
    for file in &files {
        let text = read(file)?;
        for link in links(&text).filter(|link| !link.contains(':')) {
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { file.clone() } else { file.with_file_name(path) };
            if !target.exists() || !(heading.is_empty() || headings(&read(&target)?).any(|h| h == heading)) {
                faults.push(format!("{}: {link}", file.strip_prefix(root).unwrap_or(file).display()));
            }
        }
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(format!("links that lead nowhere\n  {}", faults.join("\n  ")))
    }
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))
}

/// All Markdown files below a folder; not in hidden folders and not in what cargo builds.
fn find(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in folder.read_dir().map_err(|e| format!("{}: {e}", folder.display()))?.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
            find(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "md") {
            files.push(path);
        }
    }
    Ok(())
}

/// The lines outside of code blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut code = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    })
}

fn links(text: &str) -> impl Iterator<Item = &str> {
    prose(text).flat_map(|line| line.split("](").skip(1)).filter_map(|rest| Some(rest.split_once(')')?.0))
}

/// The anchors of a page's headings, as the usual renderers make them.
fn headings(text: &str) -> impl Iterator<Item = String> {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    prose(text).filter(|line| line.starts_with('#')).map(move |line| {
        let title = line.trim_start_matches('#').trim();
        title.to_lowercase().chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_in_code_are_none() {
        let page = "[a](b.md) and [c](d.md#e)\n```text\n[x](y)\n```\n[f](#g)";
        assert_eq!(links(page).collect::<Vec<_>>(), ["b.md", "d.md#e", "#g"]);
    }

    #[test]
    fn a_heading_has_the_usual_anchor() {
        let page = "# One idea: the `Host`\n```sh\n# no heading\n```\n## 2. Words";
        assert_eq!(headings(page).collect::<Vec<_>>(), ["one-idea-the-host", "2-words"]);
    }
}
