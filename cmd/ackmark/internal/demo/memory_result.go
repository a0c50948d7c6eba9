package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/ackmark/ackmark/internal/proof/figures"
)

// memoryResult is what the memory show found. Its JSON is the output of --json.
type memoryResult struct {
	Broker      string      `json:"broker"`
	LimitBytes  int64       `json:"limit_bytes"`
	Mechanism   string      `json:"mechanism"`
	RecordBytes int         `json:"record_bytes"`
	Processes   int         `json:"processes"`
	Stalled     memoryPhase `json:"stalled"`
	Leaking     memoryPhase `json:"leaking"`
	Ackmark     *sideResult `json:"ackmark"`
	// Problems are what did not go as it should at the end; usually there are none.
	Problems       []string `json:"problems,omitempty"`
	ElapsedSeconds float64  `json:"elapsed_seconds"`
}

// memoryPhase is a part of the show.
type memoryPhase struct {
	Seconds float64 `json:"seconds"`
	// PeakBytes is the largest resident set of any process.
	PeakBytes int64 `json:"peak_bytes"`
	// HeldRecords and HeldBytes are what all processes held together, decompressed.
	HeldRecords int64 `json:"held_records,omitempty"`
	HeldBytes   int64 `json:"held_bytes,omitempty"`
	// Deaths at the limit.
	Deaths int `json:"deaths"`
}

// RepeatedError is the verdict that inputs were emitted twice although only apps died.
type RepeatedError struct{ Inputs int }

// Error implements error.
func (e *RepeatedError) Error() string {
	return fmt.Sprintf("Ackmark emitted %d inputs twice, though only apps died: this is a bug; run again with --verbose, and report it", e.Inputs)
}

// ErrOverLimit is the verdict that a consumer's budget did not hold.
var ErrOverLimit = errors.New("a process died of its memory while its handlers stalled: the budget did not hold; this is a bug; run again with --verbose, and report it")

// verdict is the first promise that was broken.
func (r *memoryResult) verdict() error {
	a := r.Ackmark
	switch {
	case a.Lost > 0 || a.Altered > 0 || a.Reordered > 0:
		return &LostError{a.Lost, a.Altered, a.Reordered}
	case a.Unfinished > 0:
		return &UnfinishedError{Inputs: a.Unfinished, Idle: drainTimeout}
	case a.Duplicated > 0:
		return &RepeatedError{a.Duplicated}
	}
	return nil
}

func (m *memoryShow) print() error {
	if m.JSON {
		enc := json.NewEncoder(m.Stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(m.result)
	}
	_, err := io.WriteString(m.Stdout, m.result.table())
	return err
}

// table is the result for people, at most 80 columns wide.
func (r *memoryResult) table() string {
	var b strings.Builder
	rule := "  " + strings.Repeat("─", 66) + "\n"
	fmt.Fprintf(&b, "\n  %-34s%16s%16s\n%s", "", "handlers stall", "one leaks", rule)
	row := func(name, left, right string) { fmt.Fprintf(&b, "  %-34s%16s%16s\n", name, left, right) }
	row("memory limit of a process", mib(r.LimitBytes), mib(r.LimitBytes))
	row("peak of the largest process", mib(r.Stalled.PeakBytes), mib(r.Leaking.PeakBytes))
	row("processes killed at the limit", figures.Thousands(r.Stalled.Deaths), figures.Thousands(r.Leaking.Deaths))
	row("inputs held by all processes", figures.Thousands(int(r.Stalled.HeldRecords)), "")
	row("  of decompressed values", mib(r.Stalled.HeldBytes), "")
	b.WriteString(rule)
	a := r.Ackmark
	for _, c := range []struct {
		name string
		n    int
	}{
		{"inputs", a.Inputs}, {"outputs", a.Outputs}, {"lost", a.Lost}, {"duplicated", a.Duplicated}, {"reordered per key", a.Reordered},
	} {
		row(c.name, figures.Thousands(c.n), "")
	}
	for _, c := range []struct {
		name string
		n    int
	}{
		{"altered", a.Altered}, {"outputs of no input", a.Foreign}, {"not done yet at the end", a.Unfinished},
		{"not committed (lag) at the end", int(a.Lag)}, {"processes that died by themselves", a.Crashes},
	} {
		if c.n != 0 { // 0 is as it should be
			row(c.name, figures.Thousands(c.n), "")
		}
	}
	for _, p := range r.Problems {
		b.WriteString("\n" + wrap("note: "+p, 78))
	}
	text := fmt.Sprintf("A backlog of %s stood before %d processes of %s. While their handlers stalled, the consumers fetched until their budgets were full and then "+
		"no more. The process that leaked was killed at its limit, as a container's is: what its sidecar had received was finished and committed for it, the rest went to "+
		"the next process, and nothing was done twice.", mib(int64(a.Inputs)*int64(r.RecordBytes)), r.Processes, mib(r.LimitBytes))
	if r.Leaking.Deaths == 0 {
		text = "No process leaked for long enough to be killed: give more --records, or a lower --memory-limit."
	}
	if r.verdict() != nil {
		text = "See the error below."
	}
	return b.String() + "\n" + wrap(text, 78) + wrap("the limit: "+r.Mechanism, 78) + fmt.Sprintf("  %.1f s\n", r.ElapsedSeconds)
}
