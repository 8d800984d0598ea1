//! The documents name tests; each of them must be there.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Names of all tests of this program: `module::…::name`.
fn tests() -> BTreeSet<String> {
    let listed = Command::new(std::env::current_exe().unwrap())
        .arg("--list")
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    listed
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .map(str::to_owned)
        .collect()
}

/// What stands in backticks in the lines of a document that begin so.
fn code_in(document: &str, lines: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(document);
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| line.starts_with(lines));
    lines
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_test_that_families_names_is_there() {
    let tests = tests();
    let modules: BTreeSet<&str> = tests
        .iter()
        .filter_map(|test| test.split("::").next())
        .collect();
    let mut named = 0;
    for name in code_in("docs/families.md", "") {
        let module = name.split("::").next().unwrap_or_default();
        if modules.contains(module) && name.contains("::") {
            assert!(
                tests.contains(&name),
                "docs/families.md names {name}, which is no test"
            );
            named += 1;
        }
    }
    assert!(named > 50, "{named} tests are named");
    // And the other way round: each test of a family's head is named.
    let cells: BTreeSet<String> = code_in("docs/families.md", "").into_iter().collect();
    for test in tests
        .iter()
        .filter(|test| test.starts_with("family_heads::"))
    {
        assert!(
            cells.contains(test),
            "{test} is missing in docs/families.md"
        );
    }
}

#[test]
fn every_test_in_the_readmes_table_of_heads_is_there() {
    let tests = tests();
    let mut named = 0;
    for name in code_in("README.md", "|") {
        // Only tests have such names there.
        let is_sentence = name.matches('_').count() >= 2
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if is_sentence {
            let known = tests
                .iter()
                .any(|test| test.ends_with(&format!("::{name}")));
            assert!(known, "README.md names {name}, which is no test");
            named += 1;
        }
    }
    assert!(named > 8, "{named} tests are named");
}
