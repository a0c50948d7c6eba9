package chaos

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/proof/verify"
)

// Verdict of a row.
type Verdict string

// Verdicts.
const (
	Kept    Verdict = "kept"
	Broken  Verdict = "BROKEN"
	NotHere Verdict = "not here"
)

// Result is what a row showed.
type Result struct {
	Row          int               `json:"row"`
	Fault        string            `json:"fault"`
	Protocol     consumer.Protocol `json:"protocol"` // of the group
	Incidents    int               `json:"incidents"`
	Inputs       uint64            `json:"inputs"`
	Lost         uint64            `json:"lost"`
	Duplicated   uint64            `json:"duplicated"`
	Bound        int64             `json:"bound"` // of duplicates; -1: they are intended
	BoundSays    string            `json:"bound_says"`
	Reordered    uint64            `json:"reordered"`
	Split        uint64            `json:"split"` // outputs in another partition than earlier ones of their key
	DeadLetter   uint64            `json:"dead_letters"`
	LettersAgain uint64            `json:"dead_letters_again"` // of those that are duplicated
	Commits      int               `json:"commits_seen"`
	Premature    int               `json:"premature_commits"`
	Takeovers    []time.Duration   `json:"takeovers_ns,omitempty"`
	PeakApp      int64             `json:"peak_app_bytes"`
	PeakSidecar  int64             `json:"peak_sidecar_bytes"`
	// Transactions of exactly-once, as their coordinator tells.
	Transactions int           `json:"transactions,omitempty"`
	OpenP50      time.Duration `json:"open_p50_ns,omitempty"`
	OpenP99      time.Duration `json:"open_p99_ns,omitempty"`
	OpenMax      time.Duration `json:"open_max_ns,omitempty"`
	Took         time.Duration `json:"took_ns"`
	Verdict      Verdict       `json:"verdict"`
	// Why it is broken, or not here.
	Why     string `json:"why,omitempty"`
	Details string `json:"details,omitempty"`

	costs      []cost // of each incident
	superseded int    // wills that the broker refused: their apps died within a rebalance
	samples    []sample
}

// cost is what may come again after an incident: W and C.
type cost struct{ inFlight, since int64 }

func (c cost) sum() int64 { return c.inFlight + c.since }

// total adds costs up.
func total(all []cost) (t cost) {
	for _, c := range all {
		t.inFlight += c.inFlight
		t.since += c.since
	}
	return t
}

// largest returns the n incidents that may cost most.
func largest(all []cost, n int) []cost {
	sorted := slices.SortedFunc(slices.Values(all), func(a, b cost) int { return cmp.Compare(b.sum(), a.sum()) })
	return sorted[:min(n, len(sorted))]
}

// letters are dead letters: how many there are of each input.
type letters map[uint64]uint64

func (l letters) add(value []byte) {
	if id, err := verify.Parse(value); err == nil {
		l[id.Global]++
	}
}

// saw takes what a reader saw of outputs and of dead letters, which are outputs, too: one that
// comes again is repeated.
func (r *Result) saw(got verify.OutputsResult, dead letters) {
	r.Lost, r.Duplicated, r.Reordered, r.Split, r.DeadLetter = got.Lost, got.Duplicated, got.Reordered, got.Split, uint64(len(dead))
	r.LettersAgain = 0
	for _, n := range dead {
		r.LettersAgain += n - 1
	}
	r.Duplicated += r.LettersAgain
}

// judge decides from the counts.
func (r *Result) judge() {
	var why []string
	bad := func(format string, args ...any) { why = append(why, fmt.Sprintf(format, args...)) }
	if r.Lost > 0 {
		bad("%d inputs are lost", r.Lost)
	}
	if r.Premature > 0 {
		bad("%d inputs were committed before their output was written", r.Premature)
	}
	if r.Reordered > 0 {
		bad("%d outputs overtook another one of their key", r.Reordered)
	}
	if r.Split > 0 {
		bad("%d outputs went to another partition than earlier ones of their key", r.Split)
	}
	if r.Bound >= 0 && r.Duplicated > uint64(r.Bound) {
		bad("%d outputs came again, %d of them dead letters, the bound is %d (%s)", r.Duplicated, r.LettersAgain, r.Bound, r.BoundSays)
	}
	if r.Why != "" {
		bad("%s", r.Why)
	} else if r.Inputs == 0 {
		bad("no input was written, so nothing is proven")
	}
	r.Verdict, r.Why = Kept, strings.Join(why, "; ")
	if len(why) > 0 {
		r.Verdict = Broken
	}
}
