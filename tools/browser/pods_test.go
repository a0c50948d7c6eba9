package browser_test

import (
	"fmt"
	"sync"
	"time"

	"github.com/ackmark/ackmark/internal/podstate"
)

// pods is a source that a test changes.
type pods struct {
	mu  sync.Mutex
	pod podstate.Pod
	// live moves every partition with each reading.
	live bool
}

func (p *pods) Pod() *podstate.Pod {
	p.mu.Lock()
	defer p.mu.Unlock()
	pod := p.pod
	pod.Time = time.Now()
	if p.live {
		pod.Partitions = append([]podstate.Partition{}, pod.Partitions...)
		for i := range pod.Partitions {
			move(&pod.Partitions[i], int64(i%7)*3)
		}
		pod.Counters.Acked += 1234
		p.pod.Partitions, p.pod.Counters = pod.Partitions, pod.Counters
	}
	return &pod
}

func move(p *podstate.Partition, by int64) {
	o := &p.Offsets
	o.Committed, o.AckMark, o.Handled, o.Fetched, o.LogEnd = o.AckMark, o.AckMark+by, o.Handled+by, o.Fetched+by, o.LogEnd+by
	p.Counts.Done += by
	p.Counts.Read += by
	p.Done = append([]podstate.Run{}, p.Done...)
	for i := range p.Done {
		p.Done[i].First += by
		p.Done[i].Last += by
	}
	if p.Oldest != nil {
		oldest := *p.Oldest
		oldest.Offset += by
		p.Oldest = &oldest
	}
}

// large is a pod of so many sessions with so many partitions in all.
func large(sessions, partitions int) podstate.Pod {
	now := time.Now()
	pod := podstate.Pod{
		Time:      now,
		Sidecar:   &podstate.Sidecar{ID: "5f0c", Version: "v0.1.0", PID: 17, Since: now.Add(-26 * time.Hour), State: "serving", Connections: 6, ConnectionsWithout: 6 * sessions, QueueLimit: podstate.Amount{Records: 262144, Bytes: 64 << 20}, Queue: podstate.Amount{Records: 831, Bytes: 831 * 210}},
		Sentinels: &podstate.Sentinels{}, Latency: &podstate.Latency{Count: 900, P50: 6500, P95: 9000, P99: 23_000, P999: 81_000},
		Sessions: []podstate.Session{}, Partitions: []podstate.Partition{}, Queues: []podstate.Queue{}, Incidents: []podstate.Incident{},
	}
	for i := range sessions {
		pod.Sessions = append(pod.Sessions, podstate.Session{
			ID: fmt.Sprintf("s%03d", i), App: "billing", PID: 1000 + i, State: "attached", Groups: []string{"billing"}, Partitions: partitions / sessions, Told: now,
			Process: &podstate.Process{Lanes: 10, Busy: 7, Queued: 40, Counters: podstate.Counters{Done: int64(1000 * i), Retries: 2}},
		})
	}
	for i := range partitions {
		mark := int64(100_000 + 37*i)
		p := podstate.Partition{
			Session: fmt.Sprintf("s%03d", i%max(sessions, 1)), App: "billing", Group: "billing", Topic: fmt.Sprintf("orders-%02d", i/200), Partition: int32(i % 200), State: podstate.Reading,
			Offsets: podstate.Offsets{Start: 100, Committed: mark - int64(i%9), AckMark: mark, Handled: mark + 3, Fetched: mark + 60, LogEnd: mark + 60 + int64(i%50)},
			Counts:  podstate.Counts{Done: 5000, Read: 5060, DoneAbove: 12, Pending: 48},
			Done:    []podstate.Run{{First: mark + 2, Last: mark + 5}, {First: mark + 9, Last: mark + 14}, {First: mark + 30, Last: mark + 31}},
			Oldest:  &podstate.Oldest{Offset: mark, Since: now.Add(-time.Duration(i%400) * time.Millisecond), Stage: podstate.Delivered, Lane: -1, Behind: -1},
		}
		switch i {
		case 4321:
			p.State, p.Reason = podstate.Halted, "the handler rejected its input, and there is no dead-letter topic: amount is negative"
		case 77, 1234:
			p.State, p.Reason = podstate.Paused, "what is fetched and not done has used up the memory bound"
		}
		pod.Partitions = append(pod.Partitions, p)
	}
	pod.Incidents = []podstate.Incident{
		{Time: now.Add(-40 * time.Second), Kind: podstate.Halt, App: "billing", Session: "s000", Topic: "orders-21", Partition: 121, Count: 1, Reason: "the handler rejected its input, and there is no dead-letter topic: amount is negative"},
		{Time: now.Add(-90 * time.Second), Kind: podstate.Will, App: "billing", Session: "s009", Count: 1, Reason: "complete: 20 partitions committed, 143 units finished"},
		{Time: now.Add(-91 * time.Second), Kind: podstate.Rebalance, App: "billing", Session: "s001", Count: 12, Reason: "3 partitions came in 41 ms"},
	}
	return pod
}
