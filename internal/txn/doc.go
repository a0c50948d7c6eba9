// Package txn commits outputs and the offsets of their inputs together: exactly-once.
//
// A [Lane] collects units of any number of sessions, groups and partitions into windows, and ends
// each window as one Kafka transaction: the outputs of its units, and for each partition the ack
// mark and done-set that count them as done. A [Batch] is what somebody got at once (a call of
// Deliver, a frame of a stream): it hands over its units' records, as often as it is asked, and
// learns what became of each unit, once. [Claims] are the assignments that one process holds, with
// the memberships that their offsets are committed under.
//
// Who fills a lane calls [Claims.Assign] before the first unit of an assignment, [Claims.Enter] for
// each unit, [Lane.Push] for runs of units that were entered, and [Claims.Release] when a partition
// goes: its Leaving is decided when the last unit of the assignment is. A claim that is lost, or
// whose release is not waited for any more, is given up with [Claims.Abandon]: nothing of it is
// committed from then on, unless the transaction's end is on its way already, and then the
// coordinator shows nobody the offsets before it has ended.
package txn
