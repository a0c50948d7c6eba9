package podview

import (
	"fmt"
	"math"
	"math/bits"
	"strings"
	"time"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/letters"
	"github.com/ackmark/ackmark/internal/podstate"
)

// none is what is not known, or not there.
const none = "-"

// Age is a duration in two units at most: 850ms, 12s, 3m05s, 4h10m, 3d02h.
func Age(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
}

func offset(n int64) string {
	if n < 0 {
		return none
	}
	return fmt.Sprint(n)
}

// gap is how many offsets lie between two, if both are known.
func gap(upper, lower int64) string {
	if upper < 0 || lower < 0 {
		return none
	}
	return fmt.Sprint(max(0, upper-lower))
}

func text(s string) string {
	if s == "" {
		return none
	}
	return letters.Printable(s)
}

// Size is one of bytes in a unit that a human reads.
func Size[N int64 | uint64](n N) string { return size(int64(min(uint64(max(n, 0)), math.MaxInt64))) } //nolint:gosec // bounded

func size(n int64) string {
	for _, u := range []struct {
		name string
		size int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.size {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(u.size), u.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}

// latency is how long deliveries took, from the attempt to the acknowledgement.
func latency(l *podstate.Latency) string {
	switch {
	case l == nil:
		return "not told"
	case l.Count == 0:
		return "nothing acknowledged in the last 30s"
	}
	return fmt.Sprintf("p50 %s, p99 %s, p99.9 %s, of %d measured in 30s", took(l.P50), took(l.P99), took(l.P999), l.Count)
}

// took is a number of microseconds in three digits.
func took(us int64) string {
	switch {
	case us < 1000:
		return fmt.Sprintf("%dus", us)
	case us < 100_000:
		return fmt.Sprintf("%.3gms", float64(us)/1e3)
	case us < 1_000_000:
		return fmt.Sprintf("%dms", us/1000)
	}
	return fmt.Sprintf("%.1fs", float64(us)/1e6)
}

func oldestAge(p *podstate.Partition, now time.Time) string {
	if p.Oldest == nil || p.Oldest.Since.IsZero() {
		return none
	}
	return Age(p.Age(now))
}

func stage(p *podstate.Partition) string {
	if p.Oldest == nil {
		return none
	}
	return text(string(p.Oldest.Stage))
}

// cut shortens a line to a width, in characters.
func cut(s string, width int) string {
	r := []rune(s)
	if len(r) <= width {
		return s
	}
	if width < 1 {
		return ""
	}
	return string(r[:width-1]) + "…"
}

// Strip draws what is done from the ack mark to what was fetched: '#' all of it, '+' some, '.'
// none, '?' not told.
func Strip(p *podstate.Partition, width int) string {
	from, to := p.Offsets.AckMark, p.Offsets.Fetched
	if from < 0 || to <= from || width < 1 {
		return ""
	}
	width = int(min(int64(width), to-from))
	part := func(i int) int64 { // of what a peer may claim, the product is more than 64 bits
		high, low := bits.Mul64(uint64(to-from), uint64(i))
		n, _ := bits.Div64(high, low, uint64(width))
		return from + int64(n)
	}
	var b strings.Builder
	for i := range width {
		first, last := part(i), part(i+1)-1
		switch covered := done(p.Done, first, last); {
		case p.DoneMore && len(p.Done) > 0 && last > p.Done[len(p.Done)-1].Last:
			b.WriteByte('?')
		case covered == 0:
			b.WriteByte('.')
		case covered == last-first+1:
			b.WriteByte('#')
		default:
			b.WriteByte('+')
		}
	}
	return b.String()
}

// done counts the offsets of runs between two.
func done(runs []podstate.Run, first, last int64) (n int64) {
	for _, r := range runs {
		n += max(0, min(r.Last, last)-max(r.First, first)+1)
	}
	return n
}
