package admin

import (
	"fmt"
	"strings"
	"time"

	"github.com/ackmark/ackmark/internal/podstate"
)

// standing is since when a partition's mark, and its commit, are where they are.
type standing struct {
	mark, committed           int64
	markSince, committedSince time.Time
	waits, behind             bool // there was input; something was done and not committed
}

// held names an assignment of a partition.
type held struct {
	session, group, topic string
	partition             int32
	epoch                 uint64
}

// progress is what was seen of each partition: it has as many entries as the last pod had
// partitions.
type progress map[held]standing

// judge compares a pod with what was seen before, and returns what is seen now and all that is
// wrong. A partition is wrong when it has input, or cannot be read, and its ack mark has not moved
// for longer than the limit; or when what is done has not been committed for so long. One that has
// nothing to do is well. Two readings with the same mark in one assignment tell that it stood still
// between them, however far apart they are: a mark never goes back.
func judge(before progress, pod *podstate.Pod, limit time.Duration) (now progress, wrong []string) {
	if s := pod.Sidecar; s != nil {
		if s.State != "serving" {
			wrong = append(wrong, "the sidecar is "+s.State)
		}
		if s.KafkaError != "" {
			wrong = append(wrong, "Kafka is not reachable: "+s.KafkaError)
		}
	}
	now = make(progress, len(pod.Partitions))
	for i := range pod.Partitions {
		p := &pod.Partitions[i]
		key := held{p.Session, p.Group, p.Topic, p.Partition, p.Epoch}
		at := standingOf(before[key], p, pod.Time)
		now[key] = at
		if why := at.judge(p, pod.Time, limit); why != "" {
			wrong = append(wrong, fmt.Sprintf("%s/%d of group %s: %s", p.Topic, p.Partition, p.Group, why))
		}
	}
	return now, wrong
}

// standingOf is where a partition stands now, and since when. What has nothing to wait for does not
// stand still.
func standingOf(before standing, p *podstate.Partition, at time.Time) standing {
	now := standing{mark: p.Offsets.AckMark, committed: p.Offsets.Committed, markSince: at, committedSince: at, waits: waits(p), behind: uncommitted(p)}
	if before.mark == now.mark && before.waits && now.waits {
		now.markSince = before.markSince
	}
	if before.committed == now.committed && before.behind && now.behind {
		now.committedSince = before.committedSince
	}
	return now
}

// waits tells whether there is something that should be done. A partition that is read has a known
// end; one without is not read, or cannot be asked.
func waits(p *podstate.Partition) bool {
	return p.Lag() > 0 || p.Oldest != nil || p.State == podstate.Waiting || p.State == podstate.Halted || unread(p)
}

func unread(p *podstate.Partition) bool {
	return p.State == podstate.Reading && (p.Offsets.LogEnd < 0 || p.Reason != "")
}

func uncommitted(p *podstate.Partition) bool {
	return p.Offsets.Committed >= 0 && p.Offsets.Committed < p.Offsets.AckMark
}

func (s standing) judge(p *podstate.Partition, now time.Time, limit time.Duration) string {
	still, behind := now.Sub(s.markSince), now.Sub(s.committedSince)
	switch {
	case still > limit:
		return fmt.Sprintf("it has stood at offset %d for %s%s", s.mark, still.Round(time.Second), reasonOf(p))
	case behind > limit:
		return fmt.Sprintf("nothing was committed for %s, and it is done up to offset %d", behind.Round(time.Second), s.mark)
	}
	return ""
}

// reasonOf is what is known of why a partition stands still.
func reasonOf(p *podstate.Partition) string {
	text := ""
	if p.State != podstate.Reading && p.State != podstate.Untold {
		text = ", " + string(p.State)
	}
	switch {
	case p.Reason != "":
		text += ": " + p.Reason
	case unread(p):
		text += ", and nobody knows where its log ends"
	}
	if o := p.Oldest; o != nil && p.State != podstate.Halted {
		text += fmt.Sprintf("; its oldest input is %s", o.Stage)
		if o.Error != "" {
			text += ": " + o.Error
		}
	}
	return text
}

// maxReasons is how many are named: there may be ten thousand partitions.
const maxReasons = 20

// unready is the answer of /readyz.
func unready(wrong []string) string {
	var b strings.Builder
	b.WriteString("not ready\n")
	for _, line := range wrong[:min(len(wrong), maxReasons)] {
		b.WriteString(oneLine(line) + "\n")
	}
	if more := len(wrong) - maxReasons; more > 0 {
		fmt.Fprintf(&b, "and %d more\n", more)
	}
	return b.String()
}

// oneLine keeps control characters of names and errors from whoever shows the answer.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}
