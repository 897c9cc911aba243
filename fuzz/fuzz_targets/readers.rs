//! Raw files of every format: the first byte picks the format, the others are the file.
#![no_main]

use cnsdiff_pipe::data::format::fuzz::case;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    case(bytes).expect("a temporary file can be written");
});
