//! What `bertlet-convert` says when it refuses: the file, the line, key or tensor, what is wrong with it, and what to do.
//! The exit code is 1 (2 for the command line itself), standard output stays empty, and no file is left behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A golden checkpoint in a folder of its own, which a test may damage.
struct Folder(PathBuf);

impl Folder {
    fn of(golden: &str) -> Folder {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("messages-{number}"));
        let _ = fs::remove_dir_all(&path);
        let checkpoint = path.join("checkpoint");
        fs::create_dir_all(&checkpoint).unwrap();
        let golden =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/golden/{golden}"));
        for file in fs::read_dir(golden).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), checkpoint.join(file.file_name())).unwrap();
        }
        Folder(path)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> &Folder {
        fs::write(self.0.join(name), bytes).unwrap();
        self
    }

    fn remove(&self, name: &str) -> &Folder {
        fs::remove_file(self.0.join(name)).unwrap();
        self
    }

    /// A text file with a piece replaced.
    fn replace(&self, name: &str, from: &str, to: &str) -> &Folder {
        let text = fs::read_to_string(self.0.join(name)).unwrap();
        assert!(text.contains(from), "{name} does not hold {from}");
        self.write(name, text.replacen(from, to, 1))
    }

    fn convert(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_bertlet-convert"))
            .current_dir(&self.0)
            .env("HF_HUB_OFFLINE", "1")
            .env("HF_HOME", self.0.join("cache"))
            .args(arguments)
            .output()
            .unwrap()
    }

    /// The run must fail with this exit code and say all of this.
    fn says(&self, arguments: &[&str], code: i32, parts: &[&str]) -> &Folder {
        let ran = self.convert(arguments);
        let said = String::from_utf8(ran.stderr).unwrap();
        assert_eq!(ran.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(ran.stdout.is_empty(), "{arguments:?}");
        for part in parts {
            assert!(said.contains(part), "'{part}' is not in: {said}");
        }
        let left = fs::read_dir(&self.0).unwrap();
        let left = left.map(|file| file.unwrap().file_name().into_string().unwrap());
        let left: Vec<_> = left.filter(|name| name.contains("out.bertlet")).collect();
        assert!(left.is_empty(), "{left:?} left after: {said}");
        self
    }

    /// The conversion must be refused in one line that names the checkpoint's file first (`/` and its name), or the checkpoint
    /// (nothing) where no single file is to blame.
    fn refuses(&self, file: &str, parts: &[&str]) {
        let start = format!("bertlet-convert: checkpoint{file}");
        self.says(&["checkpoint", "-o", "out.bertlet"], 1, parts);
        let said = self.convert(&["checkpoint", "-o", "out.bertlet"]).stderr;
        let said = String::from_utf8(said).unwrap();
        let rest = said.strip_prefix(&start);
        // A key of a JSON file stands behind its name.
        let good = rest.is_some_and(|rest| rest.starts_with([':', ',']));
        assert!(good, "'{start}' does not begin: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn files_that_are_missing_or_something_else() {
    let classifier = || Folder::of("classifier");
    classifier().remove("checkpoint/config.json").refuses(
        "/config.json",
        &[
            "not found",
            "expected the directory of a Hugging Face checkpoint",
        ],
    );
    classifier().remove("checkpoint/model.safetensors").refuses(
        "",
        &["no weights found", "expected one of model.safetensors"],
    );
    classifier()
        .remove("checkpoint/tokenizer.json")
        .remove("checkpoint/vocab.txt")
        .refuses(
            "",
            &["no tokenizer found", "expected tokenizer.json or vocab.txt"],
        );
    classifier()
        .write(
            "checkpoint/model.safetensors",
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        )
        .refuses("/model.safetensors", &["Git LFS pointer", "'git lfs pull'"]);
    let cut = classifier();
    let weights = fs::read(cut.0.join("checkpoint/model.safetensors")).unwrap();
    cut.write(
        "checkpoint/model.safetensors",
        &weights[..weights.len() - 9],
    )
    .refuses("/model.safetensors", &["bytes long", "download it again"]);
}

#[test]
fn settings_that_are_not_understood() {
    let classifier = || Folder::of("classifier");
    classifier()
        .write(
            "checkpoint/config.json",
            "{\n  \"model_type\": \"bert\",\n  oops\n}",
        )
        .refuses("/config.json", &["is not valid JSON", "line 3 column 3"]);
    classifier()
        .write("checkpoint/tokenizer.json", "{\n\n\"model\": }")
        .refuses(
            "/tokenizer.json",
            &["is not valid JSON", "line 3 column 10"],
        );
    classifier()
        .replace(
            "checkpoint/config.json",
            "\"model_type\": \"bert\"",
            "\"model_type\": \"gpt2\"",
        )
        .refuses(
            "/config.json",
            &[
                "'model_type'",
                "'gpt2' is not supported; supported are",
                "'roberta'",
            ],
        );
    classifier()
        .replace(
            "checkpoint/config.json",
            "\"hidden_act\": \"gelu\"",
            "\"hidden_act\": \"mish\"",
        )
        .refuses(
            "/config.json",
            &["'hidden_act'", "'mish' is not known; known are gelu"],
        );
    classifier()
        .replace(
            "checkpoint/config.json",
            "\"num_hidden_layers\": 2",
            "\"num_hidden_layers\": 3",
        )
        .refuses("", &["tensor '", "layer.2", "is missing in the weights"]);
    classifier()
        .replace(
            "checkpoint/config.json",
            "\"num_hidden_layers\": 2",
            "\"num_hidden_layers\": 1",
        )
        .refuses(
            "",
            &[
                "tensor '",
                "layer.1",
                "is not part of",
                "what is not understood is not converted",
            ],
        );
    classifier()
        .replace(
            "checkpoint/tokenizer.json",
            "\"model\": {\n  \"type\": \"WordPiece\"",
            "\"model\": {\n  \"type\": \"WordLevel\"",
        )
        .refuses("/tokenizer.json", &["'WordLevel'", "supported"]);
}

#[test]
fn a_command_line_that_cannot_be_followed() {
    let folder = Folder::of("classifier");
    fs::create_dir(folder.0.join("directory")).unwrap();
    folder
        .write("a-file", "")
        .write("texts", b"good\nbad \xff\n")
        .write("empty", "")
        .says(
            &["a-file", "-o", "out.bertlet"],
            1,
            &["a-file: is a file, expected the directory of a checkpoint"],
        )
        .says(
            &["no/such/place", "-o", "out.bertlet"],
            1,
            &[
                "no/such/place: no such directory",
                "neither a directory nor a hub id (owner/name",
            ],
        )
        .says(
            &["owner/name", "-o", "out.bertlet"],
            1,
            &["HF_HUB_OFFLINE is set, and 'owner/name' (revision main) is not in the cache"],
        )
        .says(
            &["owner/name@main", "--revision", "v1", "-o", "out.bertlet"],
            1,
            &["the revision is given twice: 'owner/name@main' and --revision v1"],
        )
        .says(
            &["checkpoint", "--revision", "v1", "-o", "out.bertlet"],
            1,
            &["checkpoint: --revision is for a hub id, this is a directory"],
        )
        .says(
            &["checkpoint", "-o", "directory", "--precision", "f16"],
            1,
            &["directory: is not a regular file; give -o another name"],
        )
        .says(
            &[
                "checkpoint",
                "-o",
                "no-folder/out.bertlet",
                "--precision",
                "f16",
            ],
            1,
            &["no-folder/out.bertlet: cannot be written: No such file or directory"],
        )
        .says(
            &["checkpoint", "-o", "out.bertlet", "--report", "absent"],
            1,
            &["absent: cannot be read", "No such file or directory"],
        )
        .says(
            &["checkpoint", "-o", "out.bertlet", "--report", "texts"],
            1,
            &["texts: line 2 is not UTF-8"],
        )
        .says(
            &["checkpoint", "-o", "out.bertlet", "--report", "empty"],
            1,
            &["empty: is empty; a report needs at least one line of text"],
        )
        .says(&["checkpoint"], 2, &["--output <FILE>", "--help"])
        .says(
            &["checkpoint", "-o", "out.bertlet", "--precision", "int4"],
            2,
            &["'int4'", "[possible values: int8, f16]"],
        );
}

#[test]
fn nothing_that_is_read_is_written_over() {
    let folder = Folder::of("classifier");
    let config = folder.0.join("checkpoint/config.json");
    fs::hard_link(&config, folder.0.join("hard")).unwrap();
    std::os::unix::fs::symlink(&config, folder.0.join("soft")).unwrap();
    folder.write("texts", "a cat\n");
    let read = |name: &str| fs::read(folder.0.join(name)).unwrap();
    let refuses = |output: &str, arguments: &[&str], victim: &str| {
        let before = read(victim);
        let why = format!("{victim}: is an input of the conversion");
        let arguments = [&["checkpoint", "-o", output], arguments].concat();
        folder.says(&arguments, 1, &[&why, "give another name"]);
        assert!(read(victim) == before, "{victim} is another");
    };
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        let path = format!("checkpoint/{name}");
        refuses(&path, &[], &path);
    }
    refuses("hard", &[], "hard");
    refuses("soft", &[], "soft");
    let report = ["--report", "texts", "--report-json", "texts"];
    refuses("out.bertlet", &report, "texts");
    // It was not needed, but is no model.
    let other = "checkpoint/vocab.txt";
    let before = read(other);
    let said = format!("{other}: exists, and is no model");
    folder.says(
        &["checkpoint", "-o", other],
        1,
        &[&said, "give another name"],
    );
    assert!(read(other) == before);
    let path = "checkpoint/tokenizer_config.json";
    let report = ["--report", "texts", "--report-plot", path];
    refuses("out.bertlet", &report, path);
    let twice = ["--report", "texts", "--report-json", "./out.bertlet"];
    let arguments = [&["checkpoint", "-o", "out.bertlet"], &twice[..]].concat();
    folder.says(&arguments, 1, &["out.bertlet: is the name of two outputs"]);
}

#[test]
fn a_file_of_a_checkpoint_beside_its_inputs_may_be_replaced() {
    let folder = Folder::of("classifier");
    std::os::unix::fs::symlink("checkpoint/own", folder.0.join("link")).unwrap();
    for output in ["checkpoint/own", "link"] {
        let arguments = ["checkpoint", "-o", output, "--precision", "f16"];
        let ran = folder.convert(&arguments);
        assert_eq!(ran.status.code(), Some(0), "{ran:?}");
        assert!(folder.0.join("link").is_symlink());
    }
}

#[test]
fn pipes_and_devices_are_not_read() {
    let why = "is not a regular file, expected a file of the checkpoint";
    for name in ["model.safetensors", "config.json", "tokenizer.json"] {
        let folder = Folder::of("classifier");
        let path = format!("checkpoint/{name}");
        folder.remove(&path);
        let made = Command::new("mkfifo").arg(folder.0.join(&path)).status();
        assert!(made.unwrap().success());
        folder.refuses(&format!("/{name}"), &[why]);
        folder.remove(&path);
        std::os::unix::fs::symlink("/dev/null", folder.0.join(&path)).unwrap();
        folder.refuses(&format!("/{name}"), &[why]);
    }
}

#[test]
fn a_checkpoint_cannot_drive_the_terminal() {
    let folder = Folder::of("classifier");
    folder.replace(
        "checkpoint/config.json",
        "\"hidden_act\": \"gelu\"",
        "\"hidden_act\": \"\\u001b[2J\\nbertlet-convert: wrote it\"",
    );
    let escaped = "'\\u{1b}[2J\\nbertlet-convert: wrote it' is not known";
    folder.refuses("/config.json", &[escaped]);
}

#[test]
fn the_help_says_what_exit_codes_mean() {
    let folder = Folder::of("classifier");
    let help = folder.convert(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, codes) = help.split_once("Exit codes:\n").unwrap();
    let known: Vec<&str> = codes
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split_once("  "))
        .map(|(code, _)| code.trim())
        .filter(|code| !code.is_empty())
        .collect();
    assert_eq!(known, ["0", "1", "2", "130, 143"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_the_old_file() {
    // A file may have 4096 bytes here, which the kernel enforces as a full disk would.
    let folder = Folder::of("classifier");
    folder.write("old.bertlet", "BERTLET\nold");
    let script = "ulimit -f 8; exec \"$0\" checkpoint -o old.bertlet --precision f16";
    let ran = Command::new("sh")
        .current_dir(&folder.0)
        .args(["-c", script, env!("CARGO_BIN_EXE_bertlet-convert")])
        .output()
        .unwrap();
    let said = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(1), "{said}");
    assert!(
        said.contains("old.bertlet: cannot be written: File too large"),
        "{said}"
    );
    assert_eq!(
        fs::read(folder.0.join("old.bertlet")).unwrap(),
        b"BERTLET\nold"
    );
    let files = fs::read_dir(&folder.0).unwrap();
    assert_eq!(files.count(), 2, "a part of the new file is left");
}
