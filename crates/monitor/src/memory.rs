//! Holding little memory: there is a monitor for every pod of the machine, and most of them have nothing to do.

/// Allocations of this many bytes go back to the system when they are freed.
const RETURNED: i32 = 32 * 1024;

/// Addresses are rounded to this: no page is smaller.
const PAGE: usize = 4096;

/// Has the allocator keep little that is free. To be called before there are threads.
pub fn keep_little() {
    // SAFETY: they set numbers. One arena, because writer threads use little memory and should return it.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, RETURNED);
        libc::mallopt(libc::M_TRIM_THRESHOLD, RETURNED);
    }
}

/// Gives back what an idle monitor does not need: unused heap, and the pages of the program itself, which come back from the
/// page cache when they are needed. That is most of what it would hold.
pub fn give_back() {
    unsafe extern "C" {
        #[link_name = "__executable_start"]
        static START: u8;
        #[link_name = "etext"]
        static END: u8;
    }
    corten_host::memory::give_back();
    // The symbols are the linker's: between them are the program's headers, constants and code, mapped from its file
    // and read-only.
    let (start, end) = (&raw const START, &raw const END);
    let length = (end.addr() & !(PAGE - 1)).saturating_sub(start.addr());
    // SAFETY: nothing there was ever written, so the kernel reads the same again from the file.
    unsafe { libc::madvise(start.cast_mut().cast(), length, libc::MADV_DONTNEED) };
}
