//! The program as it is shipped: version, bundles, odd surroundings.

use super::support::{Directory, Ran, model};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn the_version_says_what_was_built() {
    let directory = Directory::new();
    let ran = directory.run(&["--version"], b"").good();
    let start = format!("bertlet {} (", env!("CARGO_PKG_VERSION"));
    assert!(ran.text().starts_with(&start), "{ran:?}");
    assert!(ran.text().contains("-linux"), "{ran:?}");
    assert!(ran.text().trim_end().ends_with("generic)"), "{ran:?}");
}

fn run(program: &Path, arguments: &[&str], stdin: Stdio) -> Ran {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().stdin(stdin);
    // A program that a test wrote is busy while a process that another test forks meanwhile has the file open too, which is
    // until that one runs its own program.
    let output = loop {
        match command.output() {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(Duration::from_millis(5));
            }
            output => break output.unwrap(),
        }
    };
    Ran::from(output)
}

#[test]
fn a_bundle_carries_its_model() {
    let directory = Directory::new();
    let made = directory.run(&["bundle", "-m", "model.bertlet", "-o", "app"], b"");
    assert_eq!((made.code, made.stdout.len()), (0, 0), "{made:?}");
    assert!(made.stderr.starts_with("bertlet: wrote app ("), "{made:?}");
    let expected = directory
        .run(&["classify", "a cat", "good"], b"")
        .good()
        .stdout;
    // The file that the bundle was made of is not needed, and neither is anything else.
    std::fs::remove_file(directory.path("model.bertlet")).unwrap();
    let app = directory.path("app");
    assert_eq!(
        run(&app, &["a cat", "good"], Stdio::null()).good().stdout,
        expected
    );
    let texts = directory.write("in.txt", b"a cat\ngood\n");
    let stdin = || Stdio::from(std::fs::File::open(&texts).unwrap());
    assert_eq!(run(&app, &[], stdin()).good().stdout, expected);
    assert_eq!(run(&app, &["--all"], stdin()).good().lines().len(), 2);
    assert_eq!(
        run(&app, &["embed", "a cat"], Stdio::null())
            .good()
            .lines()
            .len(),
        1
    );
    assert!(
        run(&app, &["info"], Stdio::null())
            .good()
            .text()
            .contains("tiny")
    );
    run(&app, &["verify"], Stdio::null()).good();
    assert!(
        run(&app, &["--version"], Stdio::null())
            .good()
            .text()
            .starts_with("bertlet ")
    );
    // A word that is a subcommand too.
    assert_eq!(
        run(&app, &["--", "info"], Stdio::null())
            .good()
            .lines()
            .len(),
        1
    );
}

/// A bundle is renamed to its name: a device there would be gone for the whole machine.
#[test]
fn a_bundle_replaces_nothing_but_files() {
    use std::os::unix::fs::FileTypeExt;
    let directory = Directory::new();
    let made = directory.shell("mkfifo pipe").status().unwrap();
    assert!(made.success());
    for output in ["pipe", "."] {
        directory
            .run(&["bundle", "-m", "model.bertlet", "-o", output], b"")
            .failed(5, &[output, "is not a regular file; give -o another name"]);
    }
    let kept = std::fs::metadata(directory.path("pipe")).unwrap();
    assert!(kept.file_type().is_fifo());
}

#[test]
fn a_bundle_goes_where_a_link_leads() {
    let directory = Directory::new();
    std::fs::create_dir(directory.path("place")).unwrap();
    std::os::unix::fs::symlink("place/app", directory.path("link")).unwrap();
    // First where nothing is there yet, then where something is.
    for _ in 0..2 {
        let made = directory.run(&["bundle", "-m", "model.bertlet", "-o", "link"], b"");
        assert_eq!(made.code, 0, "{made:?}");
        assert!(directory.path("link").is_symlink());
        run(&directory.path("place/app"), &["a"], Stdio::null()).good();
        std::fs::write(directory.path("place/app"), "older").unwrap();
    }
}

/// It would be taken for a program without a model, and answer with another one.
#[test]
fn a_bundle_without_its_end_says_so() {
    let directory = Directory::new();
    directory.run(&["bundle", "-m", "model.bertlet", "-o", "app"], b"");
    let whole = directory.read("app");
    let model = directory.read("model.bertlet").len();
    let refused = |name: &str, bytes: &[u8], why: &str| {
        let app = directory.path(name);
        std::fs::copy(directory.path("app"), &app).unwrap();
        std::fs::write(&app, bytes).unwrap();
        for arguments in [&["a"][..], &["info"], &["embed", "a"]] {
            run(&app, arguments, Stdio::null()).failed(4, &[name, why, "copy or make it again"]);
        }
    };
    for lost in [1, 10, 32, 40, model - 1, model, model + 1] {
        let rest = &whole[..whole.len() - lost];
        refused("cut", rest, "the bundle is truncated");
    }
    let more = [&whole[..], b"x"].concat();
    refused("more", &more, "something was added to the bundle");
}

#[test]
fn an_interrupted_bundle_leaves_nothing() {
    let directory = Directory::new();
    // The shell starts no other program between its look for the unfinished file and the signal.
    let script = "rm -f app; \"$0\" bundle -m model.bertlet -o app 2>/dev/null & pid=$!; looks=0
        until [ -e app ] || [ $looks = 1000000 ]; do
            set -- app.*; if [ -e \"$1\" ]; then break; fi; looks=$((looks + 1))
        done
        kill -TERM $pid; wait $pid";
    // One that is whole before the signal comes says nothing.
    let interrupted = (0..100).any(|_| {
        let ran = Ran::from(directory.shell(script).output().unwrap());
        let names = std::fs::read_dir(directory.path(".")).unwrap();
        let mut names = names.map(|file| file.unwrap().file_name().into_string().unwrap());
        assert!(!names.any(|name| name.starts_with("app.")), "{ran:?}");
        assert!(ran.code == 0 || ran.code == 143, "{ran:?}");
        ran.code == 143
    });
    assert!(interrupted);
}

#[test]
fn a_bundle_of_a_bundle_has_one_model() {
    let directory = Directory::new();
    directory.write("headless.bertlet", &model(false));
    let bundle = |program: &Path, model: &str, output: &str| {
        let status = Command::new(program)
            .args(["bundle", "-m", model, "-o", output])
            .current_dir(directory.path("."))
            .stderr(Stdio::null())
            .status();
        assert!(status.unwrap().success());
        directory.path(output)
    };
    let first = bundle(
        Path::new(env!("CARGO_BIN_EXE_bertlet")),
        "model.bertlet",
        "first",
    );
    let second = bundle(&first, "headless.bertlet", "second");
    bundle(&second, "model.bertlet", "third");
    assert!(directory.read("first") == directory.read("third"));
    // Without a head the task is a vector.
    let ran = run(&second, &["a cat"], Stdio::null()).good();
    assert!(ran.text().starts_with("{\"embedding\":["), "{ran:?}");
    assert_eq!(
        second.metadata().unwrap().permissions().mode() & 0o111,
        0o111
    );
}

#[test]
fn bundles_that_cannot_be_made_or_used() {
    let directory = Directory::new();
    let bad = directory.write("bad.bertlet", &{
        let mut bytes = model(true);
        *bytes.last_mut().unwrap() ^= 1;
        bytes
    });
    directory
        .run(&["bundle", "-m", "bad.bertlet", "-o", "app"], b"")
        .failed(4, &["bad.bertlet: tensor", "has checksum"]);
    directory
        .run(
            &["bundle", "-m", "model.bertlet", "-o", "model.bertlet"],
            b"",
        )
        .failed(5, &["model.bertlet: is an input of the bundle"]);
    directory
        .run(&["bundle", "-m", "model.bertlet", "-o", "none/app"], b"")
        .failed(5, &["none/app: the bundle cannot be written"]);
    assert!(bad.exists() && !directory.path("app").exists());
    directory.run(&["bundle", "-m", "model.bertlet", "-o", "app"], b"");
    // A piece out of the model's middle is lost.
    let mut bytes = directory.read("app");
    let middle = bytes.len() - 2000;
    bytes.drain(middle..middle + 1000);
    std::fs::write(directory.path("app"), bytes).unwrap();
    run(&directory.path("app"), &["a"], Stdio::null())
        .failed(4, &["the bundle is truncated", "copy or make it again"]);
}

#[test]
fn a_read_only_place_is_enough() {
    let directory = Directory::new();
    let folder = directory.path(".");
    let set = |mode| std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode));
    set(0o555).unwrap();
    let ran = directory.run(&["classify", "a cat"], b"");
    set(0o755).unwrap();
    ran.good();
}

#[test]
fn little_memory_is_enough_or_the_message_says_so() {
    let directory = Directory::new();
    let input: String = "a cat sleeps.\n".repeat(5000);
    directory.write("in.txt", input.as_bytes());
    let limited = |kilobytes: usize, arguments: &str| {
        let script = format!("ulimit -v {kilobytes}; exec \"$0\" {arguments}");
        Ran::from(directory.shell(&script).output().unwrap())
    };
    // The default model inside of the program takes 25 MB of the 64.
    let ran = limited(65_536, "classify -m model.bertlet -f in.txt --threads 2").good();
    assert_eq!(ran.lines().len(), 5000);
    // A hole of 1 GB: more than the limit, whatever is in it.
    let file = std::fs::File::create(directory.path("large.bertlet")).unwrap();
    file.set_len(1 << 30).unwrap();
    limited(65_536, "classify -m large.bertlet a").failed(
        4,
        &[
            "large.bertlet: 1074 MB of address space are needed",
            "ulimit -v",
        ],
    );
}
