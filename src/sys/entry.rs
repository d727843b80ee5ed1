//! What a process of a small role spares: the allocator that is fast but begins large, and memory that is idle.
//!
//! A monitor lives as long as its container and mostly waits. It takes memory from the C library's allocator, which
//! touches a few pages, and before it waits it gives back the pages of the executable: the kernel brings back those that are
//! needed from its cache.
//!
//! Must not know: which role does what.

use crate::role::Role;
use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::{CStr, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU8, Ordering};

const UNKNOWN: u8 = 0;
const SMALL: u8 = 1;
const LARGE: u8 = 2;

static SIZE: AtomicU8 = AtomicU8::new(UNKNOWN);

unsafe extern "C" {
    /// `argv[0]`, set before anything of Rust runs (musl, glibc; error.h(3)).
    static program_invocation_name: *const c_char;
}

/// The global allocator of the executable: `A`, but the C library's in a small role. The role never changes, so memory
/// always goes back to where it came from.
#[derive(Debug)]
pub struct ByRole<A>(A);

impl<A> ByRole<A> {
    /// Around the allocator for all other roles.
    pub const fn new(large: A) -> ByRole<A> {
        ByRole(large)
    }
}

#[inline]
fn is_small() -> bool {
    match SIZE.load(Ordering::Relaxed) {
        UNKNOWN => decide(),
        size => size == SMALL,
    }
}

#[cold]
fn decide() -> bool {
    // SAFETY: the C library set it to argv[0], or to a static text if there is none; it is not written after that.
    let name = unsafe { program_invocation_name };
    // SAFETY: a pointer that is not null points to such a text, which is never freed.
    let name = if name.is_null() { c"" } else { unsafe { CStr::from_ptr(name) } };
    let small = Role::of(OsStr::from_bytes(name.to_bytes())) == Role::Monitor;
    SIZE.store(if small { SMALL } else { LARGE }, Ordering::Relaxed);
    small
}

// SAFETY: every call goes to one of two allocators, and always to the same one.
unsafe impl<A: GlobalAlloc> GlobalAlloc for ByRole<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        unsafe { if is_small() { System.alloc(layout) } else { self.0.alloc(layout) } }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { if is_small() { System.alloc_zeroed(layout) } else { self.0.alloc_zeroed(layout) } }
    }

    #[inline]
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { if is_small() { System.dealloc(memory, layout) } else { self.0.dealloc(memory, layout) } }
    }

    #[inline]
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        unsafe { if is_small() { System.realloc(memory, layout, size) } else { self.0.realloc(memory, layout, size) } }
    }
}

unsafe extern "C" {
    /// The first byte of the executable in memory, and the ends of its code and of its read-only data, by the linker.
    static __executable_start: u8;
    static __etext: u8;
}

/// Gives back the memory of the executable's code and read-only data that is mapped here. What is needed again comes back
/// from the kernel's cache of the file. A no-op where the kernel refuses.
pub fn release() {
    const PAGE: usize = 4096;
    let start = (&raw const __executable_start) as usize & !(PAGE - 1);
    let end = ((&raw const __etext) as usize).next_multiple_of(PAGE);
    // SAFETY: a private mapping of a file that nobody writes to reads the same after MADV_DONTNEED (madvise(2)). Between the
    // first byte of the file and the end of its code lie only its headers, read-only data and code, never written pages.
    let _ = unsafe { rustix::mm::madvise(start as *mut _, end.saturating_sub(start), rustix::mm::Advice::LinuxDontNeed) };
}
