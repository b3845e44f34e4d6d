//! The process's own memory.

/// Gives memory that is free back to the kernel. The allocator keeps what was freed between what is in use; after a crowd has
/// been served, that can be most of what the process has. Takes milliseconds; blocks the allocator meanwhile.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) may be called at any time by any thread, and changes nothing that is allocated.
    unsafe {
        libc::malloc_trim(0);
    }
}
