package podview

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/ackmark/ackmark/internal/podstate"
)

// Kinds are what there are tables of.
var Kinds = []string{"sessions", "partitions", "queues", "wills", "lag", "routes"}

// Of is the part of a pod that a kind is about, for JSON and YAML.
func Of(pod *podstate.Pod, kind string) any {
	switch kind {
	case "sessions":
		return pod.Sessions
	case "queues":
		return pod.Queues
	case "wills":
		return pod.Wills
	case "routes":
		return append([]podstate.Route{}, pod.Routes...)
	}
	return pod.Partitions
}

// Table prints a kind.
func Table(w io.Writer, pod *podstate.Pod, kind string, wide bool) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	switch kind {
	case "sessions":
		sessions(t, pod, wide)
	case "partitions":
		partitions(t, pod, wide)
	case "queues":
		queues(t, pod)
	case "wills":
		wills(t, pod)
	case "lag":
		lags(t, pod, wide)
	case "routes":
		routes(t, pod, wide)
	}
	return t.Flush()
}

// row writes cells, and those for wide tables behind them.
func row(w io.Writer, wide bool, cells []any, more ...any) {
	if wide {
		cells = append(cells, more...)
	}
	for i, c := range cells {
		if i > 0 {
			fmt.Fprint(w, "\t")
		}
		fmt.Fprint(w, c)
	}
	fmt.Fprintln(w)
}

func cells(c ...any) []any { return c }

func sessions(w io.Writer, pod *podstate.Pod, wide bool) {
	if len(pod.Sessions) == 0 {
		fmt.Fprintln(w, "no sessions: no app process is connected")
		return
	}
	row(w, wide, cells("APP", "PID", "STATE", "GROUPS", "PARTITIONS", "BUSY", "QUEUED", "OUTSTANDING", "DONE"), "SESSION", "CREDIT", "BYTES", "P50", "P99", "DIRECT", "TOLD", "NO WILL", "PROBLEM")
	for i := range pod.Sessions {
		s := &pod.Sessions[i]
		busy, queued, done, direct, problem, p50, p99 := none, none, none, none, none, none, none
		if p := s.Process; p != nil {
			busy, queued, done, direct, problem = fmt.Sprintf("%d/%d", p.Busy, p.Lanes), fmt.Sprint(p.Queued), fmt.Sprint(p.Counters.Done), yes(p.Direct), text(p.Problem)
			if l := p.Latency; l != nil && l.Count > 0 {
				p50, p99 = took(l.P50), took(l.P99)
			}
		}
		told := none
		if !s.Told.IsZero() {
			told = Age(pod.Time.Sub(s.Told)) + " ago"
		}
		row(w, wide, cells(text(s.App), s.PID, text(s.State), text(strings.Join(s.Groups, ",")), s.Partitions, busy, queued, s.Outstanding.Records, done),
			text(s.ID), s.Credit.Records, size(s.Outstanding.Bytes), p50, p99, direct, told, text(s.NoWill), problem)
	}
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

const noPartitions = "no partitions: no app process holds one"

func partitions(w io.Writer, pod *podstate.Pod, wide bool) {
	if len(pod.Partitions) == 0 {
		fmt.Fprintln(w, noPartitions)
		return
	}
	row(w, wide, cells("TOPIC", "PARTITION", "APP", "STATE", "ACK MARK", "LAG", "PENDING", "ABOVE", "OLDEST", "STAGE"),
		"GROUP", "PID", "START", "COMMITTED", "HANDLED", "FETCHED", "LOG END", "LANE", "ATTEMPT", "DONE ABOVE THE MARK", "REASON")
	pids := map[string]int{}
	for i := range pod.Sessions {
		pids[pod.Sessions[i].ID] = pod.Sessions[i].PID
	}
	for i := range pod.Partitions {
		p := &pod.Partitions[i]
		o := &p.Offsets
		lane, attempt, reason := none, none, p.Reason
		if x := p.Oldest; x != nil {
			lane, attempt = offset(int64(x.Lane)), fmt.Sprint(x.Attempt)
			if reason == "" {
				reason = x.Error
			}
		}
		row(w, wide, cells(text(p.Topic), p.Partition, text(p.App), text(string(p.State)), offset(o.AckMark), offset(p.Lag()), p.Counts.Pending, p.Counts.DoneAbove,
			oldestAge(p, pod.Time), stage(p)),
			text(p.Group), pids[p.Session], offset(o.Start), offset(o.Committed), offset(o.Handled), offset(o.Fetched), offset(o.LogEnd), lane, attempt, text(Strip(p, 20)),
			text(reason))
	}
}

// lags shows the five, each the distance to the next step of the way.
func lags(w io.Writer, pod *podstate.Pod, wide bool) {
	if len(pod.Partitions) == 0 {
		fmt.Fprintln(w, noPartitions)
		return
	}
	row(w, wide, cells("TOPIC", "PARTITION", "GROUP", "LAG", "TO FETCH", "TO HANDLE", "TO ACKNOWLEDGE", "TO COMMIT"), "COMMITTED", "ACK MARK", "HANDLED", "FETCHED", "LOG END")
	for i := range pod.Partitions {
		p := &pod.Partitions[i]
		o := &p.Offsets
		row(w, wide, cells(text(p.Topic), p.Partition, text(p.Group), gap(o.LogEnd, o.Committed), gap(o.LogEnd, o.Fetched), gap(o.Fetched, o.Handled), gap(o.Handled, o.AckMark),
			gap(o.AckMark, o.Committed)),
			offset(o.Committed), offset(o.AckMark), offset(o.Handled), offset(o.Fetched), offset(o.LogEnd))
	}
}

func queues(w io.Writer, pod *podstate.Pod) {
	if len(pod.Queues) == 0 {
		fmt.Fprintln(w, "nothing waits for Kafka")
		return
	}
	row(w, false, cells("TOPIC", "PARTITION", "RECORDS", "BYTES", "FULL"))
	for _, q := range pod.Queues {
		row(w, false, cells(text(q.Topic), q.Partition, q.Records, size(q.Bytes), yes(q.Full)))
	}
}

// routes are by app and topic, and who goes by them.
func routes(w io.Writer, pod *podstate.Pod, wide bool) {
	if len(pod.Routes) == 0 {
		fmt.Fprintln(w, "this sidecar says nothing about routes: each app goes by its own configuration")
	} else {
		row(w, false, cells("APP", "TOPIC", "BY", "FROM"))
	}
	for _, r := range pod.Routes {
		row(w, false, cells(text(r.App), text(r.Topic), text(r.By), text(r.From)))
	}
	follow := 0
	for i := range pod.Sessions {
		if pod.Sessions[i].FollowsRoutes {
			follow++
		}
	}
	fmt.Fprintf(w, "\n%d of %d sessions go by it; the others cannot change their way\n", follow, len(pod.Sessions))
	if !wide || len(pod.Sessions) == 0 {
		return
	}
	fmt.Fprintln(w)
	row(w, false, cells("SESSION OF", "PID", "GOES BY IT"))
	for i := range pod.Sessions {
		s := &pod.Sessions[i]
		row(w, false, cells(text(s.App), s.PID, yes(s.FollowsRoutes)))
	}
}

func wills(w io.Writer, pod *podstate.Pod) {
	x := pod.Wills
	row(w, false, cells("RUNNING", "EXECUTED", "COMPLETE", "SUPERSEDED", "REFUSED", "PARTITIONS", "UNITS", "FENCED", "RESUMED"))
	row(w, false, cells(x.Running, x.Executed, x.Complete, x.Superseded, x.Refused, x.Partitions, x.Units, x.Fenced, x.Resumed))
	first := true
	for _, in := range pod.Incidents {
		if in.Kind != podstate.Will && in.Kind != podstate.Fence {
			continue
		}
		if first {
			fmt.Fprintln(w)
			row(w, false, cells("AGO", "KIND", "APP", "REASON"))
			first = false
		}
		row(w, false, cells(Age(max(0, pod.Time.Sub(in.Time))), text(string(in.Kind)), text(in.App), text(in.Reason)))
	}
}
