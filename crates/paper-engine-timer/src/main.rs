//! Starts the program; everything is in the library, so that it is compiled once.

fn main() {}
