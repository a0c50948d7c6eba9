// Package audit compares the input topics of a group with its output topics, and says which inputs
// are lost, duplicated, reordered or still in flight. It needs outputs that say what they were made
// from: the source headers of pipeline.Config.SourceHeaders, or the same headers written by hand.
//
// It shares no code with the judge of the proof (internal/proof/judge), although both count what is
// lost: a fault in one must not hide what the other would find. And it knows less: not what was
// fed, only what topics and commits have.
//
// # What the words mean
//
// An input is done when its offset is below the group's committed offset, or in the done-set of the
// commit's metadata ([donemeta]). All others are in flight: whatever their outputs are, nothing is
// wrong with them yet.
//
// Lost is an input that is done and misses an output: it has fewer than [Options.Expect] asks for,
// fewer than they say there are (0 of 2, and no 1), or a hole in their numbers. An input with a
// dead letter is not lost. Outputs of other groups, as their headers say, do not count, unless
// [Options.AlsoGroups] names them. Duplicated is an output (input and number) that is there again.
// Reordered is an output, without its repeats, that stands behind one of a later input of the same
// input partition, in the same output partition and under the same key.
//
// Undecided is what would be lost if the output topics still had everything. What they do not have
// any more is read from offsets: a partition that does not start at 0 was cut, and offsets without
// records between others were compacted. An output that is missing may have been there. When such
// outputs were written is known where brokers set the times, or where [Options.TrustClocks] vouches
// for those of producers; then only inputs older than the first output that is left are undecided.
// Without, a producer's time proves nothing: a record dated ahead, or 1970, must turn neither
// verdict. Undecided is also an input whose group's commit lies beyond the end of its log, for it
// is that of another log, and an audit of inputs some of which were deleted before they were done.
//
// # A picture of a moving topic
//
// First the committed offsets are read, then the ends of the inputs, then the ends of the outputs;
// nothing beyond those ends is looked at. Ackmark commits an input after its outputs are
// acknowledged, so the outputs of all that is committed lie below the ends that are read
// afterwards. The order of these three makes the verdict sound while the pipeline runs.
//
// # Topics larger than memory
//
// Inputs and outputs are read once. Of each record a fixed-size entry is kept: input partition and
// offset, output number, where and when it was written, a 128-bit hash of its key. Entries are
// collected up to a share of [Options.Memory], sorted and written to a file; at the end the files
// are merged. So an input meets its outputs whatever gaps compaction and control records leave in
// the offsets. Two smaller sorts work the same way: first occurrences by output partition and key
// for the order, repeats by time for the bursts. On disk an input takes about 6 bytes, an output
// about 35.
package audit
