//! What the operating system tells of the machine and the process.

use std::fs;

/// The CPU's name, from `/proc/cpuinfo`.
pub fn cpu() -> Option<String> {
    value(&fs::read_to_string("/proc/cpuinfo").ok()?, "model name").map(str::to_owned)
}

/// The most memory that this process had in use so far, in bytes, from `/proc/self/status`.
pub fn peak_rss() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kibibytes = value(&status, "VmHWM")?.strip_suffix("kB")?.trim();
    Some(kibibytes.parse::<u64>().ok()? * 1024)
}

/// What stands behind the first `name :`.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.find_map(|(key, value)| (key.trim() == name).then(|| value.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_their_names() {
        let text = "processor\t: 0\nmodel name\t: A CPU: fast\nVmHWM:\t  123 kB\n";
        assert_eq!(value(text, "model name"), Some("A CPU: fast"));
        assert_eq!(value(text, "VmHWM"), Some("123 kB"));
        assert_eq!(value(text, "Vm"), None);
    }
}
