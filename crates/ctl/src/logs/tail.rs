//! Where the last lines of a file begin.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
};

const BLOCK: u64 = 64 * 1024;

/// The offset of the last `count` lines, found from the end. A last line without a newline counts.
///
/// # Errors
/// What the kernel says about reading.
pub fn start_of_last(file: &mut File, count: usize) -> io::Result<u64> {
    let length = file.seek(SeekFrom::End(0))?;
    if count == 0 {
        return Ok(length);
    }
    let mut left = count;
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(start))?;
        let mut block = Vec::new();
        file.by_ref().take(end - start).read_to_end(&mut block)?;
        for (offset, byte) in (start..end).rev().zip(block.iter().rev()) {
            // The newline that ends the last line begins no line.
            if *byte == b'\n' && offset + 1 < length {
                left -= 1;
                if left == 0 {
                    return Ok(offset + 1);
                }
            }
        }
        end = start;
    }
    Ok(0)
}
