// Package sessionfile keeps what a process would have committed next in a small file that is mapped
// into memory: what was written survives a SIGKILL of the process, since its pages belong to the
// kernel. Whoever comes next finds it, and executes the last will.
//
// One file is the session of one process: who it is, its memberships of groups, and for each
// assignment of a partition the ack mark and what is done above it.
//
//	header       4 KiB     magic, version, who wrote it and for whom; written once
//	memberships  64 × 16 KiB, each two copies of which the newer whole one counts
//	assignments  5 KiB each: what it is (written once), its mark, a bitmap of what is done above
//
// # A kill at any instruction
//
// Nothing needs a lock to be read after a kill. What changes in one place changes by one atomic
// store: the mark, a word of the bitmap, whether an assignment is there. What is larger has a
// checksum and is written where the reader does not look yet: a membership into the older of its
// two copies, an assignment into a cell that is free. So a reader finds an older or a newer state,
// never a mixture.
//
// The bitmap is a ring over offsets: the bit of an offset counts only within [Window] above the
// mark. Bits that the window is about to reach are cleared before the mark is stored, and no
// earlier: they belong to offsets below the mark by then.
//
// # What it may be believed
//
// A mark that is found here was true once, and stays true: everything below it was acknowledged.
// The group's coordinator decides about the rest, as for any will. A file of before a reboot, of
// another version, truncated or damaged is no will: it costs a repeat, never a loss.
//
// # What it costs
//
// 12 KiB a session and 5 KiB an assignment, of memory where the directory is a tmpfs (and then of
// the pod's limit). [Dir] bounds the sum; an assignment for which there is no room is not written.
// Files are sparse: what is not used takes nothing. Blocks are taken before they are mapped, so a
// full disk is an error here ([ErrFull]) and no SIGBUS later: on tmpfs, ext4 and XFS, which write
// again where they wrote before.
package sessionfile
