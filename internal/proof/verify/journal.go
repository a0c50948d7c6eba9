package verify

import (
	"fmt"
	"strings"
)

// journal keeps the last events, for the message of a violation. Text is made only when it is read:
// there are millions of events and, one hopes, no violation.
type journal struct {
	ring [512]event
	n    uint64
}

type event struct {
	p      Partition
	format string
	args   []any
}

func (j *journal) add(p Partition, format string, args ...any) {
	j.ring[j.n%uint64(len(j.ring))] = event{p, format, args}
	j.n++
}

// last returns the last events of a partition, oldest first, as the end of a message.
func (j *journal) last(p Partition) string {
	const show = 8
	var lines []string
	for i := j.n; i > 0 && j.n-i < uint64(len(j.ring)) && len(lines) < show; i-- {
		if e := j.ring[(i-1)%uint64(len(j.ring))]; e.p == p {
			lines = append(lines, fmt.Sprintf("\n    #%d ", i)+fmt.Sprintf(e.format, e.args...))
		}
	}
	if len(lines) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("\n  before that:")
	for i := range lines {
		b.WriteString(lines[len(lines)-1-i])
	}
	return b.String()
}
