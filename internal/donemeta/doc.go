// Package donemeta writes a done-set into the metadata of a group commit, and reads it back.
//
// A commit says: everything below this offset is done. Its metadata says what above it is done too,
// because it finished out of order. Whoever takes the partition over hands those inputs out no
// more: without it they would be done twice after every hand-over and every crash.
//
// The text is "am1." and then, in unpadded base64url (RFC 4648):
//
//	4 bytes   CRC-32C of all that follows
//	1 byte    kind of the body: 1 bitmap, 2 runs
//	16 bytes  topic id
//	8 bytes   base: the committed offset
//	4 bytes   leader epoch that was committed with it
//	body      bitmap: varint (first offset − base), then one bit for each offset from the first to the last, lowest bit first
//	          runs: varint (offsets since the end of the run before, or since the base), varint (length − 1), and so on
//
// Numbers are big-endian, varints those of encoding/binary. [Append] takes the body that keeps
// more, and of two that keep all the smaller.
//
// # A done-set that is wrong loses data
//
// An offset in it is never handed out. So every doubt means "no done-set", which costs a repeat:
// another tool's text, another version, one flipped bit, a byte too many. The binding is the
// strongest of these. A committed offset can be moved by an operator, put back by a tool that
// copies metadata along, or be applied to a topic of the same name that was created anew; then
// base, leader epoch or topic id differ from what the text was made for.
//
// The binding says nothing about the log above the base. Only an unclean leader election (off by
// default in Kafka) changes records that a consumer could read: an input that is done could then be
// another one under the same offset.
//
// # Bounds
//
// Brokers refuse more than 4,096 characters by default, and some servers take them silently, so
// [MaxText] holds by construction. A bitmap has room for [MaxSpan] offsets whatever they are; runs
// reach further where little is done or much is missing (compaction). [Fits] tells before an input
// is handed out whether it could still be described: a consumer that asks never has to drop a part
// of its set. Reading allocates nothing beyond dst, and dst grows with what is there, never with
// what a length claims.
package donemeta
