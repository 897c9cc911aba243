//! The allocator of the user's binary: the system's, but a request that cannot be met ends the program with a message and an
//! exit code that is documented, where Rust would abort.

use std::alloc::{GlobalAlloc, Layout, System};

/// As for a failed stage.
const FAILED: libc::c_int = 3;
const MESSAGE: &str = "error: the system gives no more memory\n help: raise the limit (`ulimit -v`), or use fewer --jobs; what is \
                       finished is kept, and the same command goes on from there\n";

/// Kills are survived at any instant, and so is this end. It knows no request that may fail: `try_reserve` ends here, too.
pub struct OrMessage;

fn or_message(memory: *mut u8) -> *mut u8 {
    if memory.is_null() {
        // SAFETY: both may be called at any time; the bytes are there for as long as the call. Nothing runs afterwards.
        unsafe {
            libc::write(libc::STDERR_FILENO, MESSAGE.as_ptr().cast(), MESSAGE.len());
            libc::_exit(FAILED);
        }
    }
    memory
}

// SAFETY: every request is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for OrMessage {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        or_message(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        or_message(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller promises.
        or_message(unsafe { System.realloc(memory, layout, size) })
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }
}
