package ackmark

// Sentinels count what must never happen, as far as one consumer, pipeline or sidecar can see it.
// Every one of them must stay 0: another number is a fault of Ackmark, and docs/operations.md has
// what to do then. Which of them a part watches, its State says.
type Sentinels struct {
	// CommitBeyond: a commit lay above the first input that was not done. If it was accepted and
	// the process died then, inputs are lost.
	CommitBeyond uint64
	// OrderInverted: an input was delivered for the first time after a later one of its key.
	OrderInverted uint64
	// InputSkipped: a position went past an input that no handler was given.
	InputSkipped uint64
	// ClosedAdmitted: a unit of a session that was closed was taken, or handed to Kafka.
	ClosedAdmitted uint64
}

// Sum is what all of them found.
func (s Sentinels) Sum() uint64 {
	return s.CommitBeyond + s.OrderInverted + s.InputSkipped + s.ClosedAdmitted
}

// Plus is the sum of each, of several parts.
func (s Sentinels) Plus(other Sentinels) Sentinels {
	return Sentinels{
		CommitBeyond: s.CommitBeyond + other.CommitBeyond, OrderInverted: s.OrderInverted + other.OrderInverted,
		InputSkipped: s.InputSkipped + other.InputSkipped, ClosedAdmitted: s.ClosedAdmitted + other.ClosedAdmitted,
	}
}
