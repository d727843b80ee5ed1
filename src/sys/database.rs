//! What SQLite, which is C, takes from its process: memory from the allocator of Rust, instead of the C library's (musl's
//! maps and unmaps pages for nearly every statement), and files without waiting for their directory needlessly.
//!
//! Must not know: what is in the database.

use rusqlite::ffi::{self, SQLITE_CONFIG_MALLOC, SQLITE_CONFIG_MEMSTATUS, SQLITE_CONFIG_PAGECACHE};
use std::alloc::{Layout, alloc, dealloc, realloc};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::null_mut;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Bytes before each piece of memory, in which its size stands: SQLite wants to be told it, and Rust when it is given back.
/// It is also the alignment that SQLite demands.
const HEADER: usize = 8;

const METHODS: ffi::sqlite3_mem_methods = ffi::sqlite3_mem_methods {
    xMalloc: Some(take),
    xFree: Some(give_back),
    xRealloc: Some(resize),
    xSize: Some(size),
    xRoundup: Some(round_up),
    xInit: Some(begin),
    xShutdown: Some(end),
    pAppData: null_mut(),
};

/// SQLite's own way to files.
static FILES: AtomicPtr<ffi::sqlite3_vfs> = AtomicPtr::new(null_mut());

/// Lets SQLite use Rust's allocator in this process, take the pages of its caches one by one, and count nothing; and open
/// a write-ahead log that is in use as such. To be called before the first connection is opened; later it changes nothing.
pub fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let methods = METHODS;
        // SAFETY: these options take a pointer to such methods, which are copied; a number; a null pointer and two numbers
        // (sqlite3_config in SQLite's documentation). SQLite refuses them once it is in use, and keeps what it has.
        unsafe {
            ffi::sqlite3_config(SQLITE_CONFIG_MALLOC, &raw const methods);
            ffi::sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0 as c_int);
            ffi::sqlite3_config(SQLITE_CONFIG_PAGECACHE, null_mut::<c_void>(), 0 as c_int, 0 as c_int);
        }
        // SAFETY: the default is a static object that SQLite never changes but for its place in the list; a copy with
        // another name lives as long as the process, which registering demands (sqlite3_vfs_register).
        unsafe {
            let own = ffi::sqlite3_vfs_find(std::ptr::null());
            if !own.is_null() {
                FILES.store(own, Ordering::Release);
                let mut ours = own.read();
                ours.zName = c"unix-known-log".as_ptr();
                ours.xOpen = Some(open);
                ffi::sqlite3_vfs_register(Box::leak(Box::new(ours)), 1);
            }
        }
    });
}

/// Opens a file as SQLite does. It asks for every log to be created if missing, and therefore waits for the directory, too,
/// when it first waits for the log; but that of a log in which something is already has been waited for by who began it.
unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    opened: *mut c_int,
) -> c_int {
    let own = FILES.load(Ordering::Acquire);
    // SAFETY: set before this function was registered.
    let Some(theirs) = (unsafe { (*own).xOpen }) else { return ffi::SQLITE_CANTOPEN };
    if flags & ffi::SQLITE_OPEN_WAL != 0 && !name.is_null() {
        // SAFETY: the name of a log is text of C.
        let text = unsafe { CStr::from_ptr(name) };
        if rustix::fs::stat(text).is_ok_and(|stat| stat.st_size > 0) {
            // SAFETY: its arguments are passed on.
            let code = unsafe { theirs(own, name, file, flags & !ffi::SQLITE_OPEN_CREATE, opened) };
            // Somebody else's program may have removed it meanwhile.
            if code != ffi::SQLITE_CANTOPEN {
                return code;
            }
        }
    }
    // SAFETY: as above.
    unsafe { theirs(own, name, file, flags, opened) }
}

fn layout(size: usize) -> Option<Layout> {
    Layout::from_size_align(size.checked_add(HEADER)?, HEADER).ok()
}

/// Writes the size before the memory that is handed out.
///
/// # Safety
/// `start` is null, or memory of `layout(size)`.
unsafe fn hand_out(start: *mut u8, size: usize) -> *mut c_void {
    if start.is_null() {
        return null_mut();
    }
    // SAFETY: the memory begins with the header and is aligned for it.
    unsafe {
        start.cast::<usize>().write(size);
        start.add(HEADER).cast()
    }
}

/// The start of what [`hand_out`] gave, and its size.
///
/// # Safety
/// `memory` came from [`hand_out`] and was not given back.
unsafe fn taken(memory: *mut c_void) -> (*mut u8, usize) {
    // SAFETY: the header lies before it.
    unsafe {
        let start = memory.cast::<u8>().sub(HEADER);
        (start, start.cast::<usize>().read())
    }
}

unsafe extern "C" fn take(wanted: c_int) -> *mut c_void {
    let size = usize::try_from(wanted).unwrap_or(0);
    let Some(layout) = layout(size) else { return null_mut() };
    // SAFETY: the layout has at least the size of the header.
    unsafe { hand_out(alloc(layout), size) }
}

unsafe extern "C" fn give_back(memory: *mut c_void) {
    if memory.is_null() {
        return;
    }
    // SAFETY: SQLite gives back what it was given, once.
    let (start, size) = unsafe { taken(memory) };
    if let Some(layout) = layout(size) {
        // SAFETY: it was made with this layout.
        unsafe { dealloc(start, layout) };
    }
}

unsafe extern "C" fn resize(memory: *mut c_void, wanted: c_int) -> *mut c_void {
    // SAFETY: SQLite passes what it was given (never null, which it sends to `take`).
    let (start, old) = unsafe { taken(memory) };
    let size = usize::try_from(wanted).unwrap_or(0);
    let (Some(before), Some(after)) = (layout(old), layout(size)) else { return null_mut() };
    // SAFETY: it was made with `before`; the new size is that of a valid layout of the same alignment.
    unsafe { hand_out(realloc(start, before, after.size()), size) }
}

unsafe extern "C" fn size(memory: *mut c_void) -> c_int {
    if memory.is_null() {
        return 0;
    }
    // SAFETY: SQLite asks for what it was given.
    unsafe { taken(memory) }.1 as c_int
}

unsafe extern "C" fn round_up(size: c_int) -> c_int {
    size.saturating_add(HEADER as c_int - 1) & !(HEADER as c_int - 1)
}

unsafe extern "C" fn begin(_: *mut c_void) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn end(_: *mut c_void) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_keeps_its_contents_and_size() {
        // SAFETY: used as SQLite does.
        unsafe {
            let memory = take(round_up(13));
            assert_eq!((size(memory), memory as usize % 8), (16, 0));
            memory.cast::<u8>().write_bytes(7, 16);
            let larger = resize(memory, 100_000);
            assert_eq!(size(larger), 100_000);
            assert!(std::slice::from_raw_parts(larger.cast::<u8>(), 16).iter().all(|byte| *byte == 7));
            let smaller = resize(larger, 8);
            assert_eq!((size(smaller), size(null_mut())), (8, 0));
            give_back(smaller);
            give_back(null_mut());
        }
    }

    #[test]
    fn sqlite_works_on_it() {
        prepare();
        prepare();
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (randomblob(100000)), ('x');").unwrap();
        let longest: i64 = connection.query_row("SELECT max(length(a)) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(longest, 100_000);
        // SAFETY: only tells a number.
        assert_eq!(unsafe { ffi::sqlite3_memory_used() }, 0, "nothing is counted");
    }
}
