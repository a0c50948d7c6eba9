// Package ackmark tells up to where a partition may be committed.
//
// Inputs enter in fetch order ([Tracker.Add]), end in any order ([Tracker.Done]), and the ack mark
// ([Tracker.Mark]) is the first offset that is not done: everything below it is. Only the ack mark
// is ever committed (S1), and it never goes back (S3). One [Tracker] belongs to one assignment
// epoch of one partition; a new assignment gets a new one (S4), so that a late Done of the old
// assignment cannot move it.
//
// The package is pure: no lock, no clock, no goroutine, nothing but the standard library. Its owner
// serialises the calls.
//
// # The obvious designs, and why they were not enough
//
//   - "Commit the highest offset that is done": loses whatever below it is still running. That is
//     auto-commit.
//   - "A set of done offsets; while it has mark, mark++": stuck for ever at the first gap.
//     Compaction and transaction markers leave gaps
//     in every real topic, so the successor of an offset is known only from the order of fetching. Hence the dense index that Add returns.
//   - "A heap, tree or list of what is pending": right, but 45 to 150 ns and an allocation a
//     record, and Oldest or DoneSet need a walk.
//   - "A ring with one slot for every offset": a gap of ten million offsets would need ten million
//     slots. The ring is over indices.
//
// Inputs that another assignment had done already (a done-set says so) are not entries:
// they are never handed out and get no index. To the tracker they are a gap, like control records;
// internal/donemeta keeps them, and joins them with [Tracker.Entries] when the next done-set is
// written.
//
// So: a ring of offsets by index, and beside it two bitmaps, of the entries that are open and of
// those that are done. Done flips two bits. The mark moves over a run of done entries a machine
// word at a time, and only when its own entry ends; each entry is crossed once.
//
//	index      7    8    9    10   11   12
//	offset     40   41   45   46   90   91        offsets 42–44 and 47–89 do not exist
//	           done open done done open open
//	                ^ mark 41, mark index 8       done-set {45–46}, next 92, pending 3, done above 2
package ackmark
