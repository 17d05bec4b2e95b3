//! The commands of `portreeve`.

fn main() {}
