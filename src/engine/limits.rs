//! Limits that the system sets to a process: threads, descriptors, memory, lengths of files. Reaching one is an error
//! with advice, wherever it happens.

/// Error numbers of the system, and what to do about them.
const ADVICE: [(i32, &str); 7] = [
    (
        libc::EAGAIN,
        "the system starts no further thread or process: raise the limit (`ulimit -u`, or `pids.max` of the container), \
         or use fewer --jobs and set RAYON_NUM_THREADS",
    ),
    (libc::ENOMEM, "memory has run out: use fewer --jobs, or raise the limit (`ulimit -v`, or that of the container)"),
    (libc::EMFILE, "the program may not open more files at a time: raise the limit (`ulimit -n`), or use fewer --jobs"),
    (libc::ENFILE, "the system can open no more files: close other programs, or raise `fs.file-max`"),
    (libc::EFBIG, "files may not become that long: raise the limit (`ulimit -f`), or use another file system"),
    (libc::ENOSPC, "the disk is full: make room, for example with `cnsdiff-pipe cache gc`"),
    (libc::EDQUOT, "the quota of the disk is used up: make room, for example with `cnsdiff-pipe cache gc`"),
];

/// What to do about an error that a limit of the system is the reason of. Errors come here as texts, since that is what
/// every layer makes of them.
pub fn advice(message: &str) -> Option<&'static str> {
    let names = |number: i32| {
        // As `io::Error` spells it for people, and in the messages of panics.
        message.contains(&format!("(os error {number})")) || message.contains(&format!("Os {{ code: {number}, "))
    };
    ADVICE.iter().find(|(number, _)| names(*number)).map(|(_, advice)| *advice)
}

/// Starts the threads that work is shared among. Without this they start when they are first needed, and the program
/// panics if that fails.
///
/// # Errors
/// The system does not start as many, in words.
pub fn start_threads() -> Result<(), String> {
    rayon::ThreadPoolBuilder::new().build_global().map_err(|error| format!("cannot start a thread per core: {error}"))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::engine::caught;

    #[test]
    fn errors_of_limits_have_advice_and_others_have_none() {
        for (number, expected) in ADVICE {
            let error = io::Error::from_raw_os_error(number);
            assert_eq!(advice(&format!("cannot open `x`: {error}")), Some(expected));
            let text = caught(|| panic!("failed to spawn thread: {error:?}")).unwrap_err();
            assert_eq!(advice(&text), Some(expected), "{text}");
        }
        assert_eq!(advice(&io::Error::from_raw_os_error(libc::ENOENT).to_string()), None);
        assert_eq!(advice("told to fail"), None);
    }
}
