package podview

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/ackmark/ackmark/internal/podstate"
)

// Top is the live view in lines of at most width characters; at most height of them, the most
// urgent partitions first. Rates are between before and now; before may be nil.
func Top(before, now *podstate.Pod, width, height int) []string {
	lines := head(before, now)
	lines = append(lines, "")
	rest := height - len(lines)
	if height <= 0 {
		rest = 1 << 20
	}
	// A third for processes, a few lines for incidents, partitions have the rest.
	incidents := incidentLines(now, min(5, max(0, rest/5-1)))
	processes := bounded(table(now, before, processTable), max(3, (rest-len(incidents))/3))
	lines = append(append(lines, processes...), "")
	parts := rest - len(processes) - len(incidents) - 2
	if len(incidents) == 0 {
		parts++
	}
	lines = append(lines, bounded(table(urgent(now), nil, partitionTable(width)), max(2, parts))...)
	if len(incidents) > 0 {
		lines = append(append(lines, ""), incidents...)
	}
	if height > 0 && len(lines) > height {
		lines = lines[:height]
	}
	for i := range lines {
		lines[i] = cut(strings.TrimRight(lines[i], " "), width)
	}
	return lines
}

func head(before, now *podstate.Pod) []string {
	lines := make([]string, 0, 8)
	s := now.Sidecar
	if s == nil {
		lines = append(lines, fmt.Sprintf("no sidecar, %s", now.Time.Format("15:04:05")))
		if now.Transactions() != nil {
			lines = append(lines, "commits  "+transactions(before, now))
		}
		return lines
	}
	lines = append(lines, fmt.Sprintf("sidecar %s, up %s, version %s, pid %d, at %s", text(s.State), Age(now.Time.Sub(s.Since)), text(s.Version), s.PID, now.Time.Local().Format("15:04:05")))
	if s.KafkaError != "" {
		lines = append(lines, "KAFKA    "+text(s.KafkaError))
	}
	c := now.Counters
	acked, failed := "", ""
	if seconds, ok := between(before, now); ok {
		acked = fmt.Sprintf(" (%.0f/s)", max(0, float64(c.Acked-before.Counters.Acked)/seconds))
		failed = fmt.Sprintf(" (%.0f/s)", max(0, float64(c.Failed-before.Counters.Failed)/seconds))
	}
	lines = append(lines,
		fmt.Sprintf("records  %d acknowledged%s, %d failed%s", c.Acked, acked, c.Failed, failed),
		fmt.Sprintf("queue    %d of %d records, %s of %s", s.Queue.Records, s.QueueLimit.Records, size(s.Queue.Bytes), size(s.QueueLimit.Bytes)),
		"latency  "+latency(now.Latency),
		fmt.Sprintf("brokers  %d connections; without the sidecar %d", s.Connections, s.ConnectionsWithout),
		fmt.Sprintf("deaths   %d wills, %d complete, %d superseded; %d streams refused", now.Wills.Executed, now.Wills.Complete, now.Wills.Superseded, now.Wills.Fenced))
	if now.Transactions() != nil {
		lines = append(lines, "commits  "+transactions(before, now))
	}
	if x := now.Sentinels; x != nil && x.CommitBeyond+x.OrderInverted+x.InputSkipped+x.ClosedAdmitted > 0 {
		lines = append(lines, fmt.Sprintf("BROKEN   %d commits above, %d out of order, %d skipped, %d of closed sessions%s: please report it", x.CommitBeyond, x.OrderInverted, x.InputSkipped, x.ClosedAdmitted, tellers(now)))
	}
	return lines
}

// transactions are how those of exactly-once apps go.
func transactions(before, now *podstate.Pod) string {
	x, rate := now.Transactions(), ""
	if seconds, ok := between(before, now); ok && before.Transactions() != nil {
		rate = fmt.Sprintf(" (%.0f/s)", max(0, float64(x.Committed-before.Transactions().Committed)/seconds))
	}
	return fmt.Sprintf("%s %s: %d transactions%s, %d aborted, %d unknown; %s", text(x.ID), text(x.State), x.Committed, rate, x.Aborted, x.Unknown, uncommitted(now))
}

// uncommitted says for how long nothing was committed, if there is something.
func uncommitted(now *podstate.Pod) string {
	if since := now.Transactions().UncommittedSince; !since.IsZero() {
		return "units wait for a commit for " + Age(now.Time.Sub(since))
	}
	return "nothing waits"
}

// tellers are the processes that tell of a broken promise: what they say is believed, and one may
// say anything.
func tellers(now *podstate.Pod) string {
	var who []string
	for i := range now.Sessions {
		if s := &now.Sessions[i]; s.Process != nil && s.Process.Sentinels != (podstate.Sentinels{}) {
			who = append(who, fmt.Sprintf("%s %d", text(s.App), s.PID))
		}
	}
	switch {
	case len(who) == 0:
		return ""
	case len(who) > 3:
		who = append(who[:3], fmt.Sprintf("%d more", len(who)-3))
	}
	return ", told by " + strings.Join(who, ", ")
}

// between is the time between two readings of one sidecar.
func between(before, now *podstate.Pod) (seconds float64, ok bool) {
	if before == nil || before.Sidecar == nil || now.Sidecar == nil || before.Sidecar.ID != now.Sidecar.ID {
		return 0, false
	}
	seconds = now.Time.Sub(before.Time).Seconds()
	return seconds, seconds > 0
}

func table(now, before *podstate.Pod, rows func(t *tabwriter.Writer, now, before *podstate.Pod)) []string {
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)
	rows(t, now, before)
	_ = t.Flush()
	return strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
}

func processTable(t *tabwriter.Writer, now, before *podstate.Pod) {
	if len(now.Sessions) == 0 {
		fmt.Fprintln(t, "no app process is connected")
		return
	}
	fmt.Fprintln(t, "APP\tPID\tSTATE\tDONE/S\tBUSY\tQUEUED\tOUTSTANDING\tPARTITIONS")
	was := map[string]int64{}
	seconds, rated := between(before, now)
	if rated {
		for i := range before.Sessions {
			if p := before.Sessions[i].Process; p != nil {
				was[before.Sessions[i].ID] = p.Counters.Done
			}
		}
	}
	for i := range now.Sessions {
		s := &now.Sessions[i]
		busy, queued, rate := none, none, none
		if p := s.Process; p != nil {
			busy, queued = fmt.Sprintf("%d/%d", p.Busy, p.Lanes), fmt.Sprint(p.Queued)
			if n, known := was[s.ID]; known {
				rate = fmt.Sprintf("%.0f", max(0, float64(p.Counters.Done-n)/seconds))
			}
		}
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%s\t%d\t%d\n", text(s.App), s.PID, text(s.State), rate, busy, queued, s.Outstanding.Records, s.Partitions)
	}
}

func partitionTable(width int) func(t *tabwriter.Writer, now, _ *podstate.Pod) {
	return func(t *tabwriter.Writer, now, _ *podstate.Pod) {
		if len(now.Partitions) == 0 {
			fmt.Fprintln(t, "no partition is held")
			return
		}
		strip := width >= 110
		fmt.Fprint(t, "TOPIC\tPART\tSTATE\tLAG\tMARK\tPEND\tABOVE\tOLDEST\tSTAGE")
		if strip {
			fmt.Fprint(t, "\tDONE ABOVE THE MARK")
		}
		fmt.Fprintln(t)
		for i := range now.Partitions {
			p := &now.Partitions[i]
			fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%d\t%d\t%s\t%s", cut(text(p.Topic), 32), p.Partition, text(string(p.State)), offset(p.Lag()), offset(p.Offsets.AckMark), p.Counts.Pending,
				p.Counts.DoneAbove, oldestAge(p, now.Time), stage(p))
			if strip {
				fmt.Fprint(t, "\t"+Strip(p, 24))
			}
			fmt.Fprintln(t)
		}
	}
}

// urgent is the pod with its partitions in the order in which somebody should look at them: what
// stands still first, then by the age of the oldest input in whole seconds, then by lag.
func urgent(now *podstate.Pod) *podstate.Pod {
	pod := *now
	pod.Partitions = slices.Clone(now.Partitions)
	rank := func(p *podstate.Partition) int {
		state := p.State
		if state == podstate.Reading && p.Reason != "" {
			state = podstate.Waiting // it should be read
		}
		return slices.Index([]podstate.PartitionState{podstate.Reading, podstate.Untold, podstate.Paused, podstate.Waiting, podstate.Leaving, podstate.Halted}, state)
	}
	slices.SortStableFunc(pod.Partitions, func(a, b podstate.Partition) int {
		return cmp.Or(cmp.Compare(rank(&b), rank(&a)), cmp.Compare(int(b.Age(now.Time).Seconds()), int(a.Age(now.Time).Seconds())), cmp.Compare(b.Lag(), a.Lag()))
	})
	return &pod
}

func incidentLines(now *podstate.Pod, most int) []string {
	if most == 0 || len(now.Incidents) == 0 {
		return nil
	}
	lines := make([]string, 0, most)
	for _, in := range now.Incidents[:min(len(now.Incidents), most)] {
		place := ""
		if in.Topic != "" {
			place = fmt.Sprintf(" %s %d", text(in.Topic), in.Partition)
		}
		if in.Count > 1 {
			place += fmt.Sprintf(" (%d times)", in.Count)
		}
		lines = append(lines, fmt.Sprintf("%s ago  %s %s%s: %s", Age(max(0, now.Time.Sub(in.Time))), text(string(in.Kind)), text(in.App), place, text(in.Reason)))
	}
	return lines
}

// bounded is a table of at most so many lines; the last one says how many are left out.
func bounded(lines []string, most int) []string {
	if len(lines) <= most {
		return lines
	}
	out := slices.Clone(lines[:most])
	out[most-1] = fmt.Sprintf("… and %d more", len(lines)-most+1)
	return out
}
