//! Memory of a process that is about to wait for a long time.

use std::time::Duration;

use crate::kernel_file;

/// How long a process waits until it believes that it will wait for a long time. What a command of some milliseconds
/// makes it forget, it would have to read again at once.
pub(crate) const REST_AFTER: Duration = Duration::from_millis(50);

/// Unmaps the pages of the program's own code from this process, which is about to wait for a long time. They stay
/// in the page cache, and come back one by one when they are executed.
pub(crate) fn forget_code() {
    let Ok(maps) = kernel_file::read_text("/proc/self/maps") else { return };
    // `START-END r-xp OFFSET DEVICE INODE PATH`; only what comes from a file can be read again.
    let code = maps.lines().filter(|line| line.contains(" r-xp ") && line.contains(" /"));
    let range = |line: &str| {
        let (start, end) = line.split_once(' ')?.0.split_once('-')?;
        Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
    };
    code.filter_map(range).for_each(unmap_pages);
}

/// Unmaps, likewise, the pages that hold nothing but this part of the program.
pub(crate) fn forget_data(data: &'static [u8]) {
    let page = rustix::param::page_size();
    let range = data.as_ptr_range();
    let (start, end) = ((range.start as usize).next_multiple_of(page), range.end as usize / page * page);
    unmap_pages(start..end);
}

fn unmap_pages(range: std::ops::Range<usize>) {
    // SAFETY: a private mapping that is never written to has nothing but its file's content, which the kernel
    // reads again on the next access. A failure changes nothing.
    unsafe { libc::madvise(range.start as *mut libc::c_void, range.len(), libc::MADV_DONTNEED) };
}
