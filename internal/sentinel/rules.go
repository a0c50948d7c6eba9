package sentinel

// Kind is a promise that a sentinel watches.
type Kind uint8

// All kinds.
const (
	// CommitBeyond: a commit lies above the first input that is not done (S1).
	CommitBeyond Kind = iota
	// OrderInverted: an input was delivered for the first time after a later one of its key (S7).
	OrderInverted
	// InputSkipped: a position went past an input that nobody was given, and nobody said so (S11).
	InputSkipped
	// ClosedAdmitted: a unit of a session that was closed was taken, or handed to Kafka (S8).
	ClosedAdmitted

	kinds
)

// Kinds are all of them.
var Kinds = [kinds]Kind{CommitBeyond, OrderInverted, InputSkipped, ClosedAdmitted}

// String is what metrics, the log and the lab call it.
func (k Kind) String() string {
	return [kinds]string{"commit_beyond", "order_inverted", "input_skipped", "closed_admitted"}[k]
}

// IsBeyond is the rule of CommitBeyond: open is the first input that is not done, or where the
// reading is when all are.
func IsBeyond(commit, open int64) bool { return commit > open }

// IsInverted is the rule of OrderInverted: before is one more than the highest place of the key
// that was seen, 0 for none.
func IsInverted(place, before uint64) bool { return place+1 < before }

// Passed is what became of the inputs that a position has gone past.
type Passed struct {
	All        int64 // inputs, and records that are none
	HandedOut  int64 // a handler was given them, or may be at any time
	DoneBefore int64 // a done-set or a dead letter said that they were done
	NoInput    int64 // control records
	HeldBack   int64 // not handed out yet
	GivenUp    int64 // by explicit choice, and counted
}

// Skipped is the rule of InputSkipped: how many nobody can account for. Fewer than none: some were
// entered twice.
func (p Passed) Skipped() int64 {
	return p.All - p.HandedOut - p.DoneBefore - p.NoInput - p.HeldBack - p.GivenUp
}

// IsClosed is the rule of ClosedAdmitted: a unit is written, and of the sessions that had it these
// many are closed, and these many are not.
func IsClosed(closed, living int) bool { return closed > 0 && living == 0 }
