package admin

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ackmark/ackmark/internal/podstate"
)

const limit = 5 * time.Minute

var noon = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// reading is one partition at a time of the day.
type reading struct {
	after                time.Duration
	mark, committed, end int64
	oldest               bool
	state                podstate.PartitionState
	epoch                uint64
	gone                 bool
}

func (r reading) pod() *podstate.Pod {
	pod := &podstate.Pod{Time: noon.Add(r.after)}
	if r.gone {
		return pod
	}
	p := podstate.Partition{
		Session: "a", Group: "g", Topic: "orders", Partition: 3, Epoch: r.epoch, State: podstate.Reading,
		Offsets: podstate.Offsets{AckMark: r.mark, Committed: r.committed, LogEnd: r.end},
	}
	if r.state != "" {
		p.State, p.Reason = r.state, "the reason"
	}
	if r.oldest {
		p.Oldest = &podstate.Oldest{Offset: r.mark, Stage: podstate.Retrying, Error: "bad amount"}
	}
	pod.Partitions = []podstate.Partition{p}
	return pod
}

func TestReadinessIsByProgress(t *testing.T) {
	const m = time.Minute
	for name, c := range map[string]struct {
		readings []reading
		want     string // of the last one; empty: ready
	}{
		"nothing is held":               {[]reading{{gone: true}, {after: time.Hour, gone: true}}, ""},
		"it moves":                      {[]reading{{mark: 1, committed: 1, end: 9}, {after: 6 * m, mark: 2, committed: 2, end: 9}}, ""},
		"caught up, and idle for hours": {[]reading{{mark: 9, committed: 9, end: 9}, {after: 5 * time.Hour, mark: 9, committed: 9, end: 9}}, ""},
		"it stands, not for long":       {[]reading{{mark: 1, committed: 1, end: 9}, {after: 5 * m, mark: 1, committed: 1, end: 9}}, ""},
		"it stands":                     {[]reading{{mark: 1, committed: 1, end: 9}, {after: 5*m + 1, mark: 1, committed: 1, end: 9}}, "orders/3 of group g: it has stood at offset 1 for 5m0s"},
		"input that the log's end does not show yet": {
			[]reading{{mark: 1, committed: 1, end: 1, oldest: true}, {after: 6 * m, mark: 1, committed: 1, end: 1, oldest: true}},
			"it has stood at offset 1 for 6m0s; its oldest input is retrying: bad amount",
		},
		"input came just now": {[]reading{{mark: 9, committed: 9, end: 9}, {after: 9 * m, mark: 9, committed: 9, end: 10}}, ""},
		"input came, and waits for long": {
			[]reading{{mark: 9, committed: 9, end: 9}, {after: 9 * m, mark: 9, committed: 9, end: 10}, {after: 15 * m, mark: 9, committed: 9, end: 10}}, "for 6m0s",
		},
		"it stood, and moves again": {[]reading{{mark: 1, committed: 1, end: 9}, {after: 6 * m, mark: 1, committed: 1, end: 9}, {after: 7 * m, mark: 2, committed: 2, end: 9}}, ""},
		"another assignment":        {[]reading{{mark: 1, committed: 1, end: 9, epoch: 1}, {after: 6 * m, mark: 1, committed: 1, end: 9, epoch: 2}}, ""},
		"it went and came back":     {[]reading{{mark: 1, committed: 1, end: 9}, {after: 3 * m, gone: true}, {after: 6 * m, mark: 1, committed: 1, end: 9}}, ""},
		"halted": {
			[]reading{{mark: 1, committed: 1, end: 9, state: podstate.Halted}, {after: 6 * m, mark: 1, committed: 1, end: 9, state: podstate.Halted}}, "for 6m0s, halted: the reason",
		},
		"waiting, its end not known": {
			[]reading{{mark: -1, committed: -1, end: -1, state: podstate.Waiting}, {after: 6 * m, mark: -1, committed: -1, end: -1, state: podstate.Waiting}}, "waiting: the reason",
		},
		"the end of the log is not known": {
			[]reading{{mark: 4, committed: 4, end: -1}, {after: 6 * m, mark: 4, committed: 4, end: -1}}, "it has stood at offset 4 for 6m0s, and nobody knows where its log ends",
		},
		"the end of the log is not known, not for long": {[]reading{{mark: 4, committed: 4, end: -1}, {after: 5 * m, mark: 4, committed: 4, end: -1}}, ""},
		"its process does not tell":                     {[]reading{{mark: 4, committed: -1, end: -1, state: podstate.Untold}, {after: 6 * m, mark: 4, committed: -1, end: -1, state: podstate.Untold}}, ""},
		"nothing comes of it": {
			[]reading{{mark: 9, committed: 9, end: 9, state: podstate.Reading}, {after: 6 * m, mark: 9, committed: 9, end: 9, state: podstate.Reading}}, "it has stood at offset 9 for 6m0s: the reason",
		},
		"done, and never committed": {
			[]reading{{mark: 3, committed: 1, end: 9}, {after: 3 * m, mark: 5, committed: 1, end: 9}, {after: 6 * m, mark: 9, committed: 1, end: 9}},
			"orders/3 of group g: nothing was committed for 6m0s, and it is done up to offset 9",
		},
		"committed between":    {[]reading{{mark: 3, committed: 1, end: 9}, {after: 3 * m, mark: 5, committed: 3, end: 9}, {after: 6 * m, mark: 9, committed: 3, end: 9}}, ""},
		"the clock jumps back": {[]reading{{after: 6 * m, mark: 1, committed: 1, end: 9}, {mark: 1, committed: 1, end: 9}}, ""},
	} {
		var seen progress
		var wrong []string
		for _, r := range c.readings {
			seen, wrong = judge(seen, r.pod(), limit)
		}
		got := strings.Join(wrong, "\n")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestReadinessOfASidecar(t *testing.T) {
	for want, s := range map[string]podstate.Sidecar{
		"":                                    {State: "serving"},
		"the sidecar is draining":             {State: "draining"},
		"the sidecar is starting":             {State: "starting"},
		"Kafka is not reachable: no route":    {State: "serving", KafkaError: "no route"},
		"the sidecar is draining\nKafka is n": {State: "draining", KafkaError: "no route"},
	} {
		_, wrong := judge(nil, &podstate.Pod{Time: noon, Sidecar: &s}, limit)
		if got := strings.Join(wrong, "\n"); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%+v: %q", s, got)
		}
	}
}

// What was seen of partitions that went is forgotten, and an answer names some of ten thousand.
func TestReadinessIsBounded(t *testing.T) {
	pod := &podstate.Pod{Time: noon}
	for i := range 10_000 {
		pod.Partitions = append(pod.Partitions, podstate.Partition{Topic: "t\n\x1b[31m", Partition: int32(i), Offsets: podstate.Offsets{LogEnd: 5}})
	}
	seen, _ := judge(nil, pod, limit)
	pod.Time = noon.Add(time.Hour)
	seen, wrong := judge(seen, pod, limit)
	if len(wrong) != 10_000 || len(seen) != 10_000 {
		t.Errorf("%d wrong, %d seen", len(wrong), len(seen))
	}
	text := unready(wrong)
	if lines := strings.Count(text, "\n"); lines != maxReasons+2 || !strings.HasSuffix(text, fmt.Sprintf("and %d more\n", 10_000-maxReasons)) || strings.Contains(text, "\x1b") {
		t.Errorf("%d lines: %q", lines, text)
	}
	if seen, _ = judge(seen, &podstate.Pod{Time: pod.Time}, limit); len(seen) != 0 {
		t.Errorf("%d partitions that went are remembered", len(seen))
	}
}
