package wire

import "math"

// Limits of what a sidecar takes in one unit and one message. Every form of producer refuses a unit
// beyond them with [CodeUnitTooLarge], so that a unit's fate does not depend on its way.
const (
	// MaxUnitOutputs bounds what one unit may cost in memory before its credit is known: an empty
	// output of 2 bytes takes about 300.
	MaxUnitOutputs = 16 << 10
	// MaxUnitHeaders is for all outputs of a unit together: a header of 2 bytes takes 40 in memory.
	MaxUnitHeaders = 32 << 10
	// MaxMessageHeaders is for all units of a message. A client's frame that is closed at
	// [MaxFrameBytes] keeps it: so many bytes hold fewer headers than what one more unit leaves
	// free.
	MaxMessageHeaders = 64 << 10
	// MaxFrameBytes is where a frame of several units must be closed; one unit may go beyond it.
	MaxFrameBytes = 2 * (MaxMessageHeaders - MaxUnitHeaders)
)

// The times that a record may have, in milliseconds since 1970: from 1677 to 2262. Kafka's client
// counts in nanoseconds, and would write another time for one beyond them.
const (
	MinTimeMs = math.MinInt64 / 1_000_000
	MaxTimeMs = math.MaxInt64 / 1_000_000
)
