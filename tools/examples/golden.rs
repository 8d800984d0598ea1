//! Writes golden checkpoints as int8 model files: `cargo run -p bertlet-tools --example golden -- FOLDER NAME…`
//!
//! A name is that of a folder in `tests/golden`; its `/` becomes `-` in the name of the file, `NAME-int8.bertlet`.

#[path = "../tests/golden/make.rs"]
mod make;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments
        .next()
        .expect("the first argument is the folder for the models");
    for name in arguments {
        make::model(&name, "int8", folder.as_ref());
    }
}
