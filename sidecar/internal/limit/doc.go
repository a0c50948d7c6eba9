// Package limit counts what is held of something that is bounded, and says when there is none left.
//
// A [Meter] counts bytes and records, on the hot path, and leaves it to its users to wait, to
// refuse or to go on. A [Share] is what one of many holders has of a [Commons], of which nobody can
// take everything from the others. [Full] is how a peer hears that a limit is reached.
package limit
