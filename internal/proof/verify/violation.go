package verify

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Name names a kind of violation. It begins with the number of the invariant in the specification.
type Name string

// All kinds of violation.
const (
	PrematureCommit    Name = "S1 premature commit"                    // a committed offset lies above the first input that is not done
	CommitBeyondLog    Name = "S1 commit beyond the log"               // a committed offset lies above the log's end
	LostOutput         Name = "S1 lost output"                         // an input has no output at the end
	DoneSetWrong       Name = "S1 done-set with what is not done"      // an input in a committed done-set is not done
	DoneSetForeign     Name = "S1 done-set of another commit"          // damaged, or bound to another topic, offset or leader epoch
	CommitNotHeld      Name = "S2 commit of a partition not held"      // the member does not hold the partition
	CommitStale        Name = "S2 commit of a stale generation"        // the generation is older than the assignment
	CommitAnonymous    Name = "S2 commit without a member"             // generation −1 or no member id: the broker fences nothing
	CommitBack         Name = "S3 commit went back"                    // below what was committed before
	CommitOverlap      Name = "S3 two commits in flight"               // sent before the previous one was answered
	CommitCancelled    Name = "S3 commit cancelled in flight"          // nobody knows whether it was applied
	DoneSetForgot      Name = "S3 done-set forgot an input"            // that an earlier commit had, and the offset has not passed
	RewindLeft         Name = "S3 rewound commit not repaired"         // a late commit of a dead member undid its will's, and the will left all the same
	OldAckCounted      Name = "S4 ack of an older epoch counted"       // a commit passes an input that was not done in this assignment epoch
	CommitBelowStart   Name = "S4 commit below the epoch's start"      // made by a tracker of an older assignment
	OffsetAlone        Name = "S5 offset without its outputs"          // a transaction covers an input and has not all of its outputs
	OutputsAlone       Name = "S5 outputs without their offset"        // a transaction has outputs of an input that it does not cover
	OutputTwice        Name = "S5 output twice"                        // although a transaction had committed it with its offset
	CommitBeside       Name = "S5 commit beside the transactions"      // a plain one of an exactly-once process: nothing fences it
	LeftOpen           Name = "S5 transaction left open"               // readers wait for it
	OlderGoesOn        Name = "S5 older sidecar goes on"               // it took its transactional id back from the younger one
	TooManyDuplicates  Name = "S6 duplicate beyond the bound"          // an output repeated although no incident explains it
	HandedAgain        Name = "S6 input of the done-set handed out"    // although the commit that the assignment began from says that it is done
	WillIncomplete     Name = "S6 will forgot what was done"           // a will left the group without committing what its session had done
	Reordered          Name = "S7 reordered"                           // first occurrences of a key's outputs are not in order
	KeySplit           Name = "S7 key in two partitions"               // so that no order exists between its outputs
	ClosedWrote        Name = "S8 output of a closed session"          // written after a will had closed it
	ClosedCommitted    Name = "S8 commit of a member that left"        // accepted after its will, or itself, had left the group
	MemoryExceeded     Name = "S9 memory above its bound"              // whatever the brokers, the handler or the peer did
	LagLeft            Name = "S10 lag left"                           // the group did not catch up
	Stranded           Name = "S10 partition stranded"                 // nobody holds a partition that has lag
	SkippedSilently    Name = "S11 input skipped silently"             // committed, but never handed out, and nobody said so
	RejectedWrongly    Name = "S11 dead letter of a sound input"       // nothing was wrong with it: a shutdown or a revoke was taken for a failure
	ReportedTwice      Name = "S12 unit reported twice"                // as anything, after it was reported as anything
	NeverReported      Name = "S12 unit never reported"                // although its process lives
	FalseAck           Name = "S12 acknowledged but not durable"       // the report lies
	UnknownOutput      Name = "S12 output of no input"                 // nobody fed the input that it claims to come from
	CorruptOutput      Name = "S12 corrupt output"                     // its key or text is not what its input had
	WrongUnitReference Name = "S12 report of a unit that is not there" // an index outside of the call
)

// Violation is one broken promise.
type Violation struct {
	Name   Name
	Detail string // everything that is known about it
}

// Error implements error.
func (v Violation) Error() string { return string(v.Name) + ": " + v.Detail }

// maxKept bounds what a Violations remembers: a bug that breaks a promise a million times has been
// seen after some.
const maxKept = 100

// Violations collects violations. The zero value is usable. It is not safe for concurrent use.
type Violations struct {
	kept   []Violation
	counts map[Name]int
}

func (vs *Violations) add(v Violation) {
	if vs.counts == nil {
		vs.counts = make(map[Name]int)
	}
	vs.counts[v.Name]++
	if len(vs.kept) < maxKept {
		vs.kept = append(vs.kept, v)
	}
}

// All returns the first 100 violations, in the order they were found.
func (vs *Violations) All() []Violation { return slices.Clone(vs.kept) }

// Count returns how many of this name were found; of all kinds for "".
func (vs *Violations) Count(name Name) (n int) {
	for k, c := range vs.counts {
		if name == "" || k == name {
			n += c
		}
	}
	return n
}

// Has tells whether one of this name was found.
func (vs *Violations) Has(name Name) bool { return vs.counts[name] > 0 }

// Names returns the kinds that were found, the most frequent first, with their counts.
func (vs *Violations) Names() []string {
	names := make([]Name, 0, len(vs.counts))
	for n := range vs.counts {
		names = append(names, n)
	}
	slices.SortFunc(names, func(a, b Name) int {
		return cmp.Or(cmp.Compare(vs.counts[b], vs.counts[a]), cmp.Compare(a, b))
	})
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = fmt.Sprintf("%s (%d)", n, vs.counts[n])
	}
	return out
}

// Err returns nil, or an error with the first violations and the count of each kind.
func (vs *Violations) Err() error {
	if len(vs.kept) == 0 {
		return nil
	}
	errs := []error{errors.New("violations: " + strings.Join(vs.Names(), ", "))}
	for _, v := range vs.kept[:min(10, len(vs.kept))] {
		errs = append(errs, v)
	}
	return errors.Join(errs...)
}
