//! What a process of a small role spares: the allocator that is fast but begins large, and memory that is idle.
//!
//! A monitor lives as long as its container and mostly waits. It takes memory from the C library's allocator, which
//! touches a few pages, and before it waits it gives back the pages of the executable: the kernel brings back those that are
//! needed from its cache.
//!
//! Must not know: which role does what.

use crate::role::Role;
use rustix::event::{PollFd, Timespec};
use rustix::io::{Errno, Result};
use rustix::mm::Advice;
use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::{CStr, OsStr, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

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
    let small = matches!(Role::of(OsStr::from_bytes(name.to_bytes())), Role::Monitor | Role::Network | Role::Ground);
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

/// The parts of the executable in memory that are never written: code and read-only data.
#[derive(Debug, Default)]
pub struct Image {
    parts: [(usize, usize); 8],
    count: usize,
}

impl Image {
    /// Finds the parts, from the program headers (dl_iterate_phdr(3)).
    pub fn find() -> Image {
        let mut image = Image::default();
        // SAFETY: the callback gets the pointer that is passed here, while `image` is borrowed for nothing else.
        unsafe { libc::dl_iterate_phdr(Some(collect), (&raw mut image).cast()) };
        image
    }

    /// Waits as [`reactor::wait`](crate::reactor::wait), for `timeout` (`None`: for ever), having given back the memory of these parts: what is needed again
    /// comes back from the kernel's cache of the file. Nothing else happens in between, since every page that is touched
    /// brings its neighbours along (64 KiB, `fault_around_bytes`).
    #[inline(never)]
    pub fn wait_without(&self, descriptors: &mut [PollFd<'_>], timeout: Option<Duration>) -> Result<usize> {
        for (start, length) in &self.parts[..self.count] {
            // SAFETY: a private mapping of a file without changes of our own reads the same after MADV_DONTNEED
            // (madvise(2)); these parts are not writable. A kernel that refuses costs memory only.
            let _ = unsafe { rustix::mm::madvise(*start as *mut c_void, *length, Advice::LinuxDontNeed) };
        }
        let limit = timeout.map(|t| Timespec { tv_sec: t.as_secs() as i64, tv_nsec: i64::from(t.subsec_nanos()) });
        match rustix::event::poll(descriptors, limit.as_ref()) {
            Err(Errno::INTR) => Ok(0),
            other => other,
        }
    }
}

/// Takes the parts of the executable itself, which comes first, and ends the iteration.
unsafe extern "C" fn collect(info: *mut libc::dl_phdr_info, _: libc::size_t, image: *mut c_void) -> libc::c_int {
    // SAFETY: the C library passes a valid object, and `find` its own `Image`.
    let (info, image) = unsafe { (&*info, &mut *image.cast::<Image>()) };
    // SAFETY: the program headers are mapped with the executable for its whole life.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    for header in headers.iter().filter(|h| h.p_type == libc::PT_LOAD && h.p_flags & libc::PF_W == 0) {
        const PAGE: usize = 4096;
        let start = (info.dlpi_addr + header.p_vaddr) as usize;
        let end = (start + header.p_memsz as usize).next_multiple_of(PAGE);
        if let Some(part) = image.parts.get_mut(image.count) {
            *part = (start & !(PAGE - 1), end - (start & !(PAGE - 1)));
            image.count += 1;
        }
    }
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_goes_and_comes_back() {
        let image = Image::find();
        assert!(image.count > 0);
        let here = the_code_goes_and_comes_back as *const () as usize;
        assert!(image.parts[..image.count].iter().any(|(start, length)| (*start..start + length).contains(&here)));
        let (read, write) = rustix::pipe::pipe().unwrap();
        rustix::io::write(write, b"x").unwrap();
        let mut descriptors = [PollFd::new(&read, rustix::event::PollFlags::IN)];
        assert_eq!(image.wait_without(&mut descriptors, None), Ok(1));
        assert_eq!(format!("{}", 1.5), "1.5");
    }
}
