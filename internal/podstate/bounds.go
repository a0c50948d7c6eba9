package podstate

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// What a process may tell.
const (
	MaxRuns      = 32  // of one partition
	MaxText      = 512 // bytes of a reason, an error, of what is next
	MaxIncidents = 32  // of one report, and kept of a session
	MaxWaiting   = 256 // partitions that cannot be read yet, of one report
	MaxTopic     = 249 // Kafka's own
	keyHashSize  = 16
)

// Text is a text of at most MaxText bytes, and valid UTF-8.
func Text(s string) string {
	s = strings.ToValidUTF8(s[:min(len(s), 4*MaxText)], "\ufffd")
	if len(s) <= MaxText {
		return s
	}
	cut := MaxText - len("…")
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

// Validate tells what a peer may not have told of a partition: numbers that are no offsets or
// counts, runs that are none, words that do not exist. The error names the field.
func (p *Partition) Validate() error {
	o, c := p.Offsets, p.Counts
	for _, f := range []struct {
		name string
		v    int64
		min  int64
	}{
		{"start", o.Start, -1}, {"committed", o.Committed, -1}, {"ack_mark", o.AckMark, -1}, {"handled", o.Handled, -1}, {"fetched", o.Fetched, -1}, {"log_end", o.LogEnd, -1},
		{"read", c.Read, 0}, {"inherited", c.Inherited, 0}, {"done", c.Done, 0}, {"done_above", c.DoneAbove, 0}, {"pending", c.Pending, 0},
		{"pending_bytes", c.PendingBytes, 0}, {"parked", c.Parked, 0}, {"lost", c.Lost, 0},
	} {
		if f.v < f.min || f.v == math.MaxInt64 {
			return fmt.Errorf("podstate: %s is %d", f.name, f.v)
		}
	}
	if !slices.Contains(PartitionStates, p.State) {
		return fmt.Errorf("podstate: no such state: %.20q", p.State)
	}
	if err := validRuns(p.Done, o.AckMark); err != nil {
		return err
	}
	if p.Oldest == nil {
		return nil
	}
	return p.Oldest.validate()
}

func validRuns(runs []Run, above int64) error {
	if len(runs) > MaxRuns {
		return fmt.Errorf("podstate: %d runs, at most %d are taken", len(runs), MaxRuns)
	}
	for _, r := range runs {
		if r.First < above || r.Last < r.First || r.Last == math.MaxInt64 {
			return fmt.Errorf("podstate: a run from %d to %d, above %d", r.First, r.Last, above)
		}
		above = r.Last + 1
	}
	return nil
}

func (o *Oldest) validate() error {
	switch {
	case o.Offset < 0, o.Behind < -1, o.Lane < -1, o.Attempt < 0:
		return errors.New("podstate: the oldest input has a negative number")
	case !slices.Contains(Stages, o.Stage):
		return fmt.Errorf("podstate: no such stage: %.20q", o.Stage)
	case o.KeyHash != "" && (len(o.KeyHash) != keyHashSize || strings.Trim(o.KeyHash, "0123456789abcdef") != ""):
		return fmt.Errorf("podstate: no hash of a key: %.20q", o.KeyHash)
	case len(o.Error) > MaxText || len(o.Next) > MaxText:
		return fmt.Errorf("podstate: a text of more than %d bytes", MaxText)
	}
	return nil
}

// Validate tells what a peer may not have told of an incident.
func (in *Incident) Validate() error {
	switch {
	case !slices.Contains(Kinds, in.Kind):
		return fmt.Errorf("podstate: no such kind of incident: %.20q", in.Kind)
	case len(in.Reason) > MaxText, len(in.Topic) > MaxTopic:
		return errors.New("podstate: an incident with too long a text")
	case in.Count < 0, in.Partition < 0:
		return errors.New("podstate: an incident with a negative number")
	}
	return nil
}
