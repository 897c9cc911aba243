//! Standard output, which holds results: what is lost there must be known at the end.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Nothing more is written after the first failure.
#[derive(Default)]
pub struct Stdout {
    failed: Mutex<Option<io::Error>>,
}

impl Stdout {
    /// Writes at once.
    pub fn write(&self, text: &str) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.is_some() || text.is_empty() {
            return;
        }
        let write = || {
            if CLOSED.load(Ordering::Relaxed) {
                return Err(io::Error::from_raw_os_error(libc::EBADF));
            }
            let mut out = io::stdout().lock();
            out.write_all(text.as_bytes())?;
            out.flush()
        };
        *failed = write().err();
    }

    /// Something could not be brought into a form to write.
    pub fn fail(&self, error: io::Error) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    /// Why results are lost. A reader that went away (`| head`) has all that it wants.
    pub fn loss(&self) -> Option<String> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = failed.as_ref().filter(|error| error.kind() != io::ErrorKind::BrokenPipe)?;
        Some(format!("cannot write results to standard output: {lost}"))
    }
}

/// Whether there was no standard output when the program began.
static CLOSED: AtomicBool = AtomicBool::new(false);

/// Runs before the runtime of the language, which opens `/dev/null` in the place of a closed standard stream: what is
/// written there would be lost without an error.
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    // SAFETY: asks the system for the flags of a descriptor, which may be any number.
    let flags = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) };
    CLOSED.store(flags == -1, Ordering::Relaxed);
}
