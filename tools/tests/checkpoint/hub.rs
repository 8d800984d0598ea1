//! The hub against a small server on loopback: which files are asked for, with what, and what each failure says.

use crate::common::{TempDir, Type, checkpoint as tiny, safetensors, tensors};
use bertlet_tools::hub::{self, HubId, Options};
use serde_json::json;
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A hub with one repository, `owner/model`. Its thread ends with the test's process.
struct Server {
    endpoint: String,
    requests: Arc<Mutex<Vec<String>>>,
}

/// Answers requests until the process ends. `token` is asked for if there is one.
fn serve(files: BTreeMap<String, Vec<u8>>, token: Option<&'static str>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let log = requests.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = answer(stream.unwrap(), &files, token, &log);
        }
    });
    Server { endpoint, requests }
}

fn answer(
    mut stream: TcpStream,
    files: &BTreeMap<String, Vec<u8>>,
    token: Option<&str>,
    log: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let lines: Vec<String> = BufReader::new(stream.try_clone()?)
        .lines()
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
        .collect();
    let path = lines
        .first()
        .and_then(|line| line.split(' ').nth(1))
        .unwrap_or_default()
        .to_owned();
    let header = |name: &str| {
        lines.iter().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name)
                .then(|| value.trim().to_owned())
        })
    };
    log.lock().unwrap().push(path.clone());
    let mut reply = |status: &str, headers: &str, body: &[u8]| {
        write!(
            stream,
            "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
            body.len()
        )?;
        stream.write_all(body)
    };
    if token.is_some() && header("authorization") != token.map(|token| format!("Bearer {token}")) {
        return reply("401 Unauthorized", "", b"");
    }
    if path == "/api/models/owner/model/revision/main"
        || path == "/api/models/owner/model/revision/v1%2Fx"
    {
        let siblings: Vec<_> = files
            .keys()
            .map(|name| json!({"rfilename": name}))
            .collect();
        let body = json!({"siblings": siblings, "sha": COMMIT}).to_string();
        return reply(
            "200 OK",
            "Content-Type: application/json\r\n",
            body.as_bytes(),
        );
    }
    let file = path
        .strip_prefix(&format!("/owner/model/resolve/{COMMIT}/"))
        .and_then(|name| files.get(name));
    let Some(file) = file else {
        return reply("404 Not Found", "", b"");
    };
    let range = header("range").unwrap_or_default();
    let (start, end) = range
        .trim_start_matches("bytes=")
        .split_once('-')
        .unwrap_or(("0", ""));
    let start: usize = start.parse().unwrap_or(0);
    let end = end
        .parse()
        .map_or(file.len(), |end: usize| (end + 1).min(file.len()));
    let headers = format!(
        "ETag: \"etag-{}\"\r\nX-Repo-Commit: {COMMIT}\r\nContent-Range: bytes {start}-{}/{}\r\n",
        path.replace('/', "-"),
        end.saturating_sub(1),
        file.len()
    );
    reply("206 Partial Content", &headers, &file[start..end])
}

/// The files of the tiny checkpoint, and some that no one needs.
fn repository() -> BTreeMap<String, Vec<u8>> {
    let directory = tiny();
    let mut files = BTreeMap::new();
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        files.insert(
            name.to_owned(),
            std::fs::read(directory.path().join(name)).unwrap(),
        );
    }
    files.insert("README.md".into(), b"---\nlicense: mit\n---\n".to_vec());
    for unneeded in [
        "pytorch_model.bin",
        "vocab.txt",
        "onnx/model.onnx",
        "tf_model.h5",
    ] {
        files.insert(unneeded.into(), b"not needed".to_vec());
    }
    files
}

fn options(endpoint: &str, home: &TempDir) -> Options {
    let home = home.path().display().to_string();
    Options::from_variables(|name| match name {
        "HF_HOME" => Some(home.clone()),
        "HF_ENDPOINT" => Some(format!("{endpoint}/")),
        _ => None,
    })
    .unwrap()
}

fn id() -> HubId {
    HubId::parse("owner/model").unwrap()
}

#[test]
fn only_the_files_needed_once_and_offline_afterwards() {
    let server = serve(repository(), None);
    let home = TempDir::new();
    let mut options = options(&server.endpoint, &home);
    let snapshot = hub::fetch(&id(), &options).unwrap();
    assert_eq!(
        (snapshot.name.as_str(), snapshot.revision.as_str()),
        ("owner/model", COMMIT)
    );
    let checkpoint = snapshot.open().unwrap();
    assert_eq!(checkpoint.source.name, "owner/model");
    assert_eq!(checkpoint.source.revision.as_deref(), Some(COMMIT));
    assert_eq!(checkpoint.source.license.as_deref(), Some("mit"));
    assert_eq!(
        checkpoint.weights().unwrap().word_embeddings,
        tensors()["embeddings.word_embeddings.weight"].1
    );
    let asked = server.requests.lock().unwrap().join("\n");
    for unneeded in ["pytorch_model.bin", "vocab.txt", "onnx", "tf_model"] {
        assert!(!asked.contains(unneeded), "{asked}");
    }
    // A second run asks for the list of files alone; an offline one for nothing.
    server.requests.lock().unwrap().clear();
    hub::fetch(&id(), &options).unwrap();
    assert_eq!(
        *server.requests.lock().unwrap(),
        ["/api/models/owner/model/revision/main"]
    );
    server.requests.lock().unwrap().clear();
    options.offline = true;
    hub::fetch(&id(), &options).unwrap().open().unwrap();
    assert!(server.requests.lock().unwrap().is_empty());
    // An unreachable server leaves the cache, with a notice.
    options.offline = false;
    options.endpoint = "http://127.0.0.1:1".into();
    let notices = hub::fetch(&id(), &options).unwrap().notices;
    assert!(notices[0].contains("cannot be reached"), "{notices:?}");
    let by_commit = HubId::parse(&format!("owner/model@{COMMIT}")).unwrap();
    assert_eq!(hub::fetch(&by_commit, &options).unwrap().revision, COMMIT);
}

#[test]
fn shards_and_revisions() {
    let mut files = repository();
    files.remove("model.safetensors");
    let map: serde_json::Map<_, _> = tensors()
        .into_keys()
        .map(|name| (name, "only.safetensors".into()))
        .collect();
    files.insert(
        "model.safetensors.index.json".into(),
        json!({"weight_map": map}).to_string().into(),
    );
    files.insert(
        "only.safetensors".into(),
        safetensors(&tensors(), Type::F16),
    );
    let server = serve(files, None);
    let home = TempDir::new();
    let id = HubId::parse("owner/model@v1/x").unwrap();
    hub::fetch(&id, &options(&server.endpoint, &home))
        .unwrap()
        .open()
        .unwrap()
        .weights()
        .unwrap();
}

#[test]
fn failures_say_what_to_do() {
    let server = serve(repository(), Some("secret"));
    let home = TempDir::new();
    let mut options = options(&server.endpoint, &home);
    let message = |id: &str, options: &Options| {
        format!(
            "{:#}",
            hub::fetch(&HubId::parse(id).unwrap(), options).unwrap_err()
        )
    };
    let without = message("owner/model", &options);
    assert!(
        without.contains("HTTP 401") && without.contains("HF_TOKEN"),
        "{without}"
    );
    options.token = Some("wrong".into());
    let wrong = message("owner/model", &options);
    assert!(
        wrong.contains("HTTP 401")
            && wrong.contains("the token in use")
            && !wrong.contains("wrong"),
        "{wrong}"
    );
    options.token = Some("secret".into());
    let missing = message("owner/model@other", &options);
    assert!(
        missing.contains("HTTP 404") && missing.contains("revision other"),
        "{missing}"
    );
    options.offline = true;
    let offline = message("owner/model", &options);
    assert!(
        offline.contains("HF_HUB_OFFLINE") && offline.contains("not in the cache"),
        "{offline}"
    );
    options.offline = false;
    hub::fetch(&id(), &options).unwrap();
    options.endpoint = "http://127.0.0.1:1".into();
    options.cache = home.path().join("empty");
    let unreachable = message("owner/model", &options);
    assert!(
        unreachable.contains("cannot fetch 'owner/model'"),
        "{unreachable}"
    );
}

#[test]
fn a_repository_without_weights() {
    let mut files = repository();
    files.remove("model.safetensors");
    files.remove("pytorch_model.bin");
    let server = serve(files, None);
    let home = TempDir::new();
    let error = hub::fetch(&id(), &options(&server.endpoint, &home))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("no weights that can be read") && error.contains("onnx/model.onnx"),
        "{error}"
    );
}

#[test]
fn ids_and_variables() {
    for wrong in [
        "",
        "a/b/c",
        "../x",
        "/abs/path",
        "a b",
        "owner/",
        "owner/model@",
        "owner/model@../x",
    ] {
        assert!(HubId::parse(wrong).is_err(), "{wrong}");
    }
    let variables = |pairs: &'static [(&str, &str)]| {
        Options::from_variables(move |name| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.to_string())
        })
    };
    let options = variables(&[
        ("HOME", "/h"),
        ("HF_HUB_OFFLINE", "true"),
        ("HF_TOKEN", "t"),
    ])
    .unwrap();
    assert_eq!(
        options.cache,
        std::path::Path::new("/h/.cache/huggingface/hub")
    );
    assert_eq!(
        (options.offline, options.token.as_deref()),
        (true, Some("t"))
    );
    assert!(!format!("{options:?}").contains("\"t\""));
    let options = variables(&[
        ("HF_HOME", "/h"),
        ("HF_HUB_OFFLINE", "0"),
        ("HF_HUB_CACHE", "/c"),
    ])
    .unwrap();
    assert_eq!(
        (options.cache.to_str(), options.offline),
        (Some("/c"), false)
    );
    assert!(variables(&[]).is_err());
}
