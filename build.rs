//! Tells the program its target and commit. Neither git nor a repository is needed.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=BERTLET_COMMIT");
    let target = std::env::var("TARGET").unwrap_or_default();
    println!("cargo::rustc-env=BERTLET_TARGET={target}");
    // A development build is not made anew for every commit.
    let release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = match std::env::var("BERTLET_COMMIT") {
        Ok(commit) => Some(commit),
        Err(_) if release => from_git().or_else(from_package),
        Err(_) => None,
    };
    let commit = commit.unwrap_or_else(|| "development".to_owned());
    println!("cargo::rustc-env=BERTLET_COMMIT={commit}");
}

/// The commit that is checked out here, with a mark if files differ from it.
fn from_git() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    // Not some repository around an unpacked archive.
    let root = std::fs::canonicalize(git(&["rev-parse", "--show-toplevel"])?).ok()?;
    if root != std::fs::canonicalize(".").ok()? {
        return None;
    }
    for file in ["HEAD", "logs/HEAD", "index"] {
        println!(
            "cargo::rerun-if-changed={}",
            git(&["rev-parse", "--git-path", file])?
        );
    }
    git(&[
        "describe",
        "--always",
        "--abbrev=12",
        "--exclude=*",
        "--dirty=-changed",
    ])
}

/// The commit that `cargo package` wrote down.
fn from_package() -> Option<String> {
    let info = std::fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let (_, rest) = info.split_once("\"sha1\"")?;
    let commit = rest.split('"').nth(1)?;
    Some(commit.get(..12)?.to_owned())
}
