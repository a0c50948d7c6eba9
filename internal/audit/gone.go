package audit

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// gone is what is known of outputs that were written and are not there any more. That some are gone
// is read from offsets alone: a log that does not start at 0, and offsets between without records.
// When they were written is not known from the times that producers set, which may be 0, or years
// ahead: only where brokers set them (LogAppendTime), or where the user vouches for them
// ([Options.TrustClocks]).
type gone struct {
	trust  bool
	any    bool
	before int64 // all that are gone were written before this time in ms, by true clocks; math.MaxInt64: nobody knows
	vague  bool  // an input was undecided whose time nobody vouches for

	cut, compacted []string // partitions, topic/number
}

func (p *plan) gone(trust bool) gone {
	g := gone{trust: trust, before: math.MinInt64}
	for _, out := range p.outputs {
		place, c := fmt.Sprintf("%s/%d", out.topic, out.partition), &out.cut
		if c.holes > 0 {
			g.compacted = append(g.compacted, place)
			g.before = math.MaxInt64
		}
		if !c.truncated {
			continue
		}
		g.cut = append(g.cut, place)
		if c.first != nil && g.isTrue(*c.first) {
			skew := ClockSkew.Milliseconds()
			g.before = max(g.before, min(c.first.ms, math.MaxInt64-skew)+skew) // a log is written from its start to its end
		} else {
			g.before = math.MaxInt64
		}
	}
	g.any = len(g.cut)+len(g.compacted) > 0
	return g
}

func (g *gone) isTrue(s stamp) bool { return g.trust || s.byBroker }

// mayHaveHad says whether an output of the input that was written then may be among them: outputs
// are written after their input.
func (g *gone) mayHaveHad(input stamp) bool {
	if g.any && !g.isTrue(input) {
		g.vague = true
	}
	return g.any && (!g.isTrue(input) || input.ms <= g.before)
}

// from is the time after which an input is decided; nil: there is none.
func (g *gone) from() *time.Time {
	if !g.any || g.vague || g.before == math.MaxInt64 {
		return nil
	}
	from := time.UnixMilli(g.before).Add(time.Second).UTC().Truncate(time.Second)
	return &from
}

// notes says why inputs are undecided, and what helps.
func (g *gone) notes() (notes []string) {
	if len(g.compacted) > 0 {
		notes = append(notes, fmt.Sprintf("compaction took records from %s: an output that is not there may have been among them, so it is undecided, not lost", some(g.compacted)))
	}
	from := g.from()
	switch {
	case len(g.cut) == 0:
	case from != nil:
		at := from.Format(time.RFC3339)
		notes = append(notes, "the oldest outputs in "+some(g.cut)+" were deleted: inputs from before "+at+" that miss an output are undecided; audit what came since with --from "+at)
	case g.trust:
		notes = append(notes, "all outputs in one of "+some(g.cut)+" were deleted: an input that misses an output is undecided")
	default:
		notes = append(notes, "the oldest outputs in "+some(g.cut)+" were deleted: an output that is not there may have been among them, whatever times the records carry, so it is undecided; "+
			"where those who write inputs and outputs have true clocks and set no times of their own, --trust-clocks decides by them, and topics with message.timestamp.type=LogAppendTime need it not")
	}
	return notes
}

// some names the first of them.
func some(places []string) string {
	const most = 5
	if more := len(places) - most; more > 0 {
		return fmt.Sprintf("%s and %d more partitions", strings.Join(places[:most], ", "), more)
	}
	return strings.Join(places, ", ")
}
