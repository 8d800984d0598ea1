//! The `bertlet` command line. All of it lives in the library's `cli` module.

fn main() -> std::process::ExitCode {
    bertlet::cli::main()
}
