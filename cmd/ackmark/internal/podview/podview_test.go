package podview_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/podview"
	"github.com/ackmark/ackmark/internal/podstate"
)

var now = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

func pod() *podstate.Pod {
	return &podstate.Pod{
		Time: now,
		Sidecar: &podstate.Sidecar{
			ID: "s", Version: "v1", PID: 7, Since: now.Add(-time.Hour), State: "serving", Connections: 3, ConnectionsWithout: 6,
			Queue: podstate.Amount{Records: 12, Bytes: 4096}, QueueLimit: podstate.Amount{Records: 262144, Bytes: 64 << 20},
		},
		Sessions: []podstate.Session{
			{
				ID: "a1", App: "billing", PID: 41, State: "attached", Groups: []string{"bills"}, FollowsRoutes: true, Partitions: 2, Told: now.Add(-time.Second), Credit: podstate.Amount{Records: 30464},
				Process: &podstate.Process{Latency: &podstate.Latency{Count: 90, P50: 870, P95: 2000, P99: 14_200, P999: 1_600_000}, Lanes: 8, Busy: 3, Queued: 5, Counters: podstate.Counters{Done: 1000}},
			},
			{ID: "a2", App: "other", PID: 42, State: "broken", Groups: []string{}, NoWill: "another cluster"},
		},
		Partitions: []podstate.Partition{
			{
				Session: "a1", App: "billing", Group: "bills", Topic: "orders", Partition: 0, State: podstate.Reading,
				Offsets: podstate.Offsets{Start: 0, Committed: 90, AckMark: 100, Handled: 104, Fetched: 120, LogEnd: 200},
				Counts:  podstate.Counts{Pending: 15, DoneAbove: 5}, Done: []podstate.Run{{First: 105, Last: 109}},
				Oldest: &podstate.Oldest{
					Offset: 100, Since: now.Add(-83 * time.Second), KeyHash: "0011223344556677", Stage: podstate.Retrying, Lane: 4, Attempt: 2, Behind: -1,
					Error: "the table is locked", Next: "the handler is called again, after attempt 2 of 5", NextAt: now.Add(4 * time.Second),
				},
			},
			{
				Session: "a1", App: "billing", Group: "bills", Topic: "orders", Partition: 1, State: podstate.Halted, Reason: "halted at offset 7: \x1b[31mboom",
				Offsets: podstate.Offsets{Start: 0, Committed: 7, AckMark: 7, Handled: 7, Fetched: 9, LogEnd: 9}, Counts: podstate.Counts{Pending: 2},
				Oldest: &podstate.Oldest{Offset: 7, Since: now.Add(-time.Hour), Stage: podstate.Stopped, Lane: -1, Behind: -1, Next: "nothing, until Resume or a restart"},
			},
			{
				Session: "a1", App: "billing", Group: "bills", Topic: "orders", Partition: 2, State: podstate.Waiting, Reason: "no leader",
				Offsets: podstate.Offsets{Start: -1, Committed: -1, AckMark: -1, Handled: -1, Fetched: -1, LogEnd: -1},
			},
		},
		Latency: &podstate.Latency{Count: 120, P50: 780, P95: 1900, P99: 12_600, P999: 140_000},
		Queues:  []podstate.Queue{{Topic: "bills.out", Partition: 3, Amount: podstate.Amount{Records: 12, Bytes: 4096}, Full: true}},
		Routes:  []podstate.Route{{App: "billing", Topic: "bills.out", By: "sidecar:10", From: "file"}, {App: "*", Topic: "*", By: "direct", From: "set"}},
		Wills:   podstate.Wills{Executed: 2, Complete: 1, Superseded: 1},
		Incidents: []podstate.Incident{
			{Time: now.Add(-2 * time.Minute), Kind: podstate.Will, App: "billing", Count: 1, Reason: "process 40 died: its will is superseded"},
			{Time: now.Add(-3 * time.Minute), Kind: podstate.DeadLetter, App: "billing", Topic: "orders", Partition: 1, Count: 40, Reason: "bad amount"},
		},
	}
}

// The tables, the explanations and the live view, as they are. UPDATE=1 writes them anew.
func TestGolden(t *testing.T) {
	var b bytes.Buffer
	for _, kind := range podview.Kinds {
		for _, wide := range []bool{false, true} {
			fmt.Fprintf(&b, "== get %s, wide %t\n", kind, wide)
			if err := podview.Table(&b, pod(), kind, wide); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range pod().Partitions {
		fmt.Fprintf(&b, "== explain orders %d\n", i)
		podview.Explain(&b, pod(), &pod().Partitions[i])
	}
	before := pod()
	before.Time = now.Add(-2 * time.Second)
	after := pod()
	after.Sentinels = &podstate.Sentinels{InputSkipped: 2}
	after.Sessions[0].Process.Sentinels.InputSkipped = 2
	after.Counters.Acked, after.Sessions[0].Process.Counters.Done = 3000, 1500
	for _, size := range [][2]int{{120, 40}, {44, 14}} {
		fmt.Fprintf(&b, "== top, %d by %d\n%s\n", size[0], size[1], strings.Join(podview.Top(before, after, size[0], size[1]), "\n"))
	}
	got := strings.ReplaceAll(b.String(), now.Local().Format("15:04:05"), "12:00:00")
	const file = "testdata/pod.golden"
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is another one; UPDATE=1 go test ./cmd/ackmark/internal/podview writes it:\n%s", file, got)
	}
}

// Whatever the window: no line is longer, there are no more of them, and nothing in them is obeyed
// by a terminal.
func TestTopFitsEveryWindow(t *testing.T) {
	p := pod()
	for i := range 300 {
		x := p.Partitions[0]
		x.Topic, x.Partition = strings.Repeat("t", i%249+1)+"._-", int32(i)
		p.Partitions = append(p.Partitions, x)
		s := p.Sessions[0]
		s.App, s.ID = "app\x1b[2J\n", fmt.Sprint(i)
		p.Sessions = append(p.Sessions, s)
		p.Incidents = append(p.Incidents, podstate.Incident{Time: now, Kind: "halt", Reason: "\u202eevil\a" + strings.Repeat("ä", 400)})
	}
	for _, width := range []int{1, 2, 20, 44, 80, 119, 300} {
		for _, height := range []int{1, 2, 5, 9, 24, 100} {
			lines := podview.Top(p, p, width, height)
			if len(lines) > height {
				t.Errorf("%d by %d: %d lines", width, height, len(lines))
			}
			for _, l := range lines {
				if n := len([]rune(l)); n > width {
					t.Errorf("%d by %d: a line of %d", width, height, n)
				}
				if strings.ContainsFunc(l, func(r rune) bool { return !unicode.IsPrint(r) }) {
					t.Errorf("a terminal obeys %q", l)
				}
			}
		}
	}
	for _, kind := range podview.Kinds {
		var b bytes.Buffer
		if err := podview.Table(&b, p, kind, true); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsAny(b.String(), "\x1b\a\u202e") {
			t.Errorf("get %s: a terminal obeys what an app is called", kind)
		}
	}
}

// 10,000 partitions of 500 processes are drawn within a frame's time, however busy the machine: the
// work is linear, so that is not what this looks at. It looks at what is shown: the most urgent.
func TestTopShowsTheMostUrgentFirst(t *testing.T) {
	p := &podstate.Pod{Time: now, Sidecar: &podstate.Sidecar{ID: "s", Since: now}}
	for i := range 500 {
		p.Sessions = append(p.Sessions, podstate.Session{ID: fmt.Sprint(i), App: "app"})
	}
	for i := range int32(10_000) {
		x := podstate.Partition{Topic: "t", Partition: i, State: podstate.Reading, Offsets: podstate.Offsets{AckMark: 0, LogEnd: int64(i % 7)}}
		switch i {
		case 7777:
			x.State = podstate.Halted
		case 8888:
			x.Oldest = &podstate.Oldest{Since: now.Add(-time.Hour), Stage: podstate.Handling}
		}
		p.Partitions = append(p.Partitions, x)
	}
	text := strings.Join(podview.Top(nil, p, 100, 40), "\n")
	halted, old := strings.Index(text, "7777"), strings.Index(text, "8888")
	if halted < 0 || old < halted || !strings.Contains(text, "… and") {
		t.Errorf("what stands still comes first, then the oldest:\n%s", text)
	}
}

func TestStrip(t *testing.T) {
	for _, x := range []struct {
		mark, fetched int64
		done          []podstate.Run
		more          bool
		want          string
	}{
		{0, 0, nil, false, ""}, {-1, 10, nil, false, ""}, {0, 4, []podstate.Run{{First: 1, Last: 2}}, false, ".##."},
		{0, 20, []podstate.Run{{First: 10, Last: 19}}, false, ".....#####"}, {0, 20, []podstate.Run{{First: 1, Last: 1}}, false, "+........."},
		{0, 20, []podstate.Run{{First: 1, Last: 9}}, true, "+####?????"}, {1 << 61, 1<<61 + 4, nil, false, "...."},
		{0, 1<<63 - 2, []podstate.Run{{First: 1<<62 - 1, Last: 1<<63 - 3}}, false, ".....#####"},
	} {
		p := podstate.Partition{Offsets: podstate.Offsets{AckMark: x.mark, Fetched: x.fetched}, Done: x.done, DoneMore: x.more}
		if got := podview.Strip(&p, 10); got != x.want {
			t.Errorf("%v: %q", x, got)
		}
	}
}

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0ms", 999 * time.Millisecond: "999ms", 12 * time.Second: "12s", 185 * time.Second: "3m05s", 250 * time.Minute: "4h10m", 74 * time.Hour: "3d02h",
	} {
		if got := podview.Age(d); got != want {
			t.Errorf("%s: %s", d, got)
		}
	}
}

// Exactly-once: top and explain say how the transactions go, and that an input waits for one.
func TestTransactionsAreShown(t *testing.T) {
	p := pod()
	p.Sessions[0].ExactlyOnce = true
	p.Sidecar.Transactions = &podstate.Transactions{ID: "orders-\x1b0", State: "closing", Committed: 1200, Aborted: 3, Unknown: 1, UncommittedSince: now.Add(-12 * time.Second)}
	before := pod()
	before.Time = now.Add(-2 * time.Second)
	before.Sidecar.Transactions = &podstate.Transactions{Committed: 1180}
	top := strings.Join(podview.Top(before, p, 200, 40), "\n")
	part := &p.Partitions[0]
	part.Oldest.Stage, part.Oldest.Error = podstate.Delivered, ""
	var why bytes.Buffer
	podview.Explain(&why, p, part)
	for _, x := range []struct{ in, want string }{
		{top, "closing: 1200 transactions (10/s), 3 aborted, 1 unknown; units wait for a commit for 12s"},
		{why.String(), "90 is committed, the rest follows with its transaction"},
		{why.String(), "closing, 1200 committed, 3 aborted; units wait for a commit for 12s"},
		{why.String(), "with the sidecar; its transaction has not ended"},
	} {
		if !strings.Contains(x.in, x.want) || strings.Contains(x.in, "\x1b") {
			t.Errorf("no %q in\n%s", x.want, x.in)
		}
	}
	p.Sidecar.Transactions.UncommittedSince = time.Time{}
	if top := strings.Join(podview.Top(nil, p, 200, 40), "\n"); !strings.Contains(top, "1 unknown; nothing waits") {
		t.Errorf("%s", top)
	}
}
