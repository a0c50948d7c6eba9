package browser_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/ackmark/ackmark/internal/podstate"
)

// What the page makes of its states, made a second time: of a state, and of those before it.
type model struct {
	before *reading
	kept   []totals // of the last seconds
	done   map[string][]totals
	chart  string // the throughput, which stays where none is known
}

type reading struct {
	time   float64
	ends   map[string]int64
	counts map[string]podstate.Counts
	untold map[string]bool
	acked  int64
	maker  string
}

type totals struct {
	time                      float64
	told                      bool
	arrived, read, done, made int64
}

// window is how far back rates go, in seconds.
const window = 5

// seconds since 1970, as JavaScript has them.
func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func grown(from, to int64) int64 { return max(to-from, 0) }

// trim leaves what a rate is made of: the last seconds.
func trim(kept []totals) []totals {
	for len(kept) > 2 && kept[1].time <= kept[len(kept)-1].time-window {
		kept = kept[1:]
	}
	return kept
}

func read(pod *podstate.Pod) *reading {
	r := &reading{time: seconds(pod.Time), ends: map[string]int64{}, counts: map[string]podstate.Counts{}, untold: map[string]bool{}, acked: pod.Counters.Acked}
	if pod.Sidecar != nil {
		r.maker = pod.Sidecar.ID
	}
	for _, p := range pod.Partitions {
		at := fmt.Sprint(p.Topic, "/", p.Partition)
		if end, known := r.ends[at]; !known || p.Offsets.LogEnd > end {
			r.ends[at] = max(p.Offsets.LogEnd, -1)
		}
		key := fmt.Sprint(p.Session, "/", p.Group, "/", at, "/", p.Epoch)
		r.counts[key] = p.Counts
		if p.State == podstate.Untold {
			r.counts[key], r.untold[key] = podstate.Counts{Done: p.Offsets.AckMark}, true
		}
	}
	return r
}

// rates are those of the window, as text; "" where they are not known.
type rates struct {
	known                      bool
	arrived, read, done, acked string
	perSecond                  float64 // done
}

// take adds a state.
func (m *model) take(pod *podstate.Pod) rates {
	now, before := read(pod), m.before
	m.before = now
	if before == nil || now.time <= before.time || now.maker != before.maker {
		sum := totals{time: now.time}
		if len(m.kept) > 0 {
			sum = m.kept[len(m.kept)-1]
			sum.time = now.time
		}
		m.kept = []totals{sum}
		return rates{}
	}
	sum := m.kept[len(m.kept)-1]
	sum.time, sum.told = now.time, false
	for at, end := range now.ends {
		if former, known := before.ends[at]; known && former >= 0 && end >= 0 {
			sum.arrived += grown(former, end)
		}
		sum.told = sum.told || end >= 0
	}
	for key, counts := range now.counts {
		former, known := before.counts[key]
		if known && before.untold[key] != now.untold[key] || !known && now.untold[key] {
			continue
		}
		sum.read += grown(former.Read, counts.Read)
		sum.done += grown(former.Done, counts.Done)
	}
	sum.made += grown(before.acked, now.acked)
	m.kept = trim(append(m.kept, sum))
	from := m.kept[0]
	took := sum.time - from.time
	rate := func(from, to int64) string { return short(float64(to-from)/took) + "/s" }
	r := rates{known: true, done: rate(from.done, sum.done), acked: rate(from.made, sum.made), perSecond: float64(sum.done-from.done) / took}
	if sum.told {
		r.arrived, r.read = rate(from.arrived, sum.arrived), rate(from.read, sum.read)
	}
	return r
}

// rate is what a process does in a second.
func (m *model) rate(s *podstate.Session, now float64) string {
	if s.Process == nil {
		return unknown
	}
	kept := trim(append(m.done[s.ID], totals{time: now, done: s.Process.Counters.Done}))
	m.done[s.ID] = kept
	took := now - kept[0].time
	if took <= 0 {
		return unknown
	}
	return short(float64(grown(kept[0].done, kept[len(kept)-1].done))/took) + "/s"
}

// next adds a state; the page should say this of it.
func (m *model) next(pod *podstate.Pod) said {
	now := seconds(pod.Time)
	r := m.take(pod)
	out := tables(pod, pod.Time)
	there := map[string]bool{}
	for i := range pod.Sessions {
		s := &pod.Sessions[i]
		there[s.ID] = true
		out["process"][fmt.Sprint(s.PID)] = processRow(s, m.rate(s, now))
	}
	for id := range m.done {
		if !there[id] {
			delete(m.done, id)
		}
	}
	flow := shown{
		Stations: stations(pod, r), Charts: m.charts(pod, r),
		Connections: []string{count(pod.Sidecar.Connections), count(pod.Sidecar.ConnectionsWithout)}, Sentinels: []string{unknown, unknown, unknown, unknown},
		Incidents: incidents(pod),
	}
	if s := pod.Sentinels; s != nil {
		flow.Sentinels = []string{count(s.CommitBeyond), count(s.OrderInverted), count(s.InputSkipped), count(s.ClosedAdmitted)}
	}
	out["flow"] = flow.said()["flow"]
	return out
}

// tables are what the page should write of a pod at this time, without the rates of processes.
func tables(pod *podstate.Pod, at time.Time) said {
	out := said{"partition": {}, "process": {}}
	names := names(pod)
	for i := range pod.Partitions {
		p := &pod.Partitions[i]
		out["partition"][fmt.Sprint(p.Topic, "/", p.Partition, " ", names[p.Session])] = partitionRow(p, seconds(at), names[p.Session])
	}
	for i := range pod.Sessions {
		out["process"][fmt.Sprint(pod.Sessions[i].PID)] = processRow(&pod.Sessions[i], "")
	}
	return out
}

// names tell the processes apart.
func names(pod *podstate.Pod) map[string]string {
	out := map[string]string{}
	for _, s := range pod.Sessions {
		out[s.ID] = fmt.Sprint(s.App, " ", s.PID)
	}
	return out
}

func incidents(pod *podstate.Pod) []string {
	if len(pod.Incidents) == 0 {
		return nil
	}
	var out []string
	names := names(pod)
	for _, in := range pod.Incidents {
		var where []string
		if who := or(names[in.Session], in.App); who != "" {
			where = append(where, who)
		}
		if in.Topic != "" {
			where = append(where, fmt.Sprint(in.Topic, "/", in.Partition))
		}
		text := in.Reason
		if len(where) > 0 {
			text = strings.Join(where, ", ") + ": " + text
		}
		out = append(out, text)
	}
	return out
}

// partitionRow is what the page writes about a partition.
func partitionRow(p *podstate.Partition, now float64, process string) string {
	o := &p.Offsets
	age, stage := unknown, ""
	if x := p.Oldest; x != nil {
		if stage = string(x.Stage); x.Attempt > 1 {
			stage += ", attempt " + count(x.Attempt)
		}
		if a := oldest(p, now); a >= 0 {
			age = span(a)
		}
	}
	return strings.Join([]string{
		p.Topic, fmt.Sprint(p.Partition), string(p.State), count(o.AckMark), strip(p), count(p.Lag()), count(between(o.Fetched, o.LogEnd)), count(p.Counts.Pending),
		count(between(o.Committed, o.AckMark)), age, stage, process,
	}, " | ")
}

// between is a lag: -1 where an end of it is not known.
func between(from, to int64) int64 {
	if from < 0 || to < 0 {
		return -1
	}
	return max(to-from, 0)
}

// oldest is how old the oldest input is; below 0: there is none.
func oldest(p *podstate.Partition, now float64) float64 {
	if p.Oldest == nil || p.Oldest.Since.IsZero() {
		return -1
	}
	return max(now-seconds(p.Oldest.Since), 0)
}

// strip is what is drawn of the gaps, and how it is read aloud.
func strip(p *podstate.Partition) string {
	mark, fetched := p.Offsets.AckMark, p.Offsets.Fetched
	if n := len(p.Done); n > 0 {
		fetched = max(fetched, p.Done[n-1].Last+1)
	} else {
		fetched = max(fetched, mark)
	}
	var out strings.Builder
	gaps := len(p.Done)
	if p.DoneMore {
		gaps++
	}
	if fetched <= mark {
		out.WriteString("nothing is open")
	} else {
		fmt.Fprintf(&out, "%s from the ack mark, %s of them done", plural(fetched-mark, "offset", "offsets"), count(p.Counts.DoneAbove))
		if gaps > 0 {
			out.WriteString(", in " + plural(gaps, "gap", "gaps"))
		}
	}
	scale := 0.0
	if fetched > mark {
		scale = 1000 / float64(fetched-mark)
	}
	for _, run := range p.Done {
		fmt.Fprintf(&out, " %s+%s", one(float64(run.First-mark)*scale), one(max(float64(run.Last+1-run.First)*scale, 4)))
	}
	return out.String()
}

// processRow is what the page writes about a process; its rate comes from elsewhere.
func processRow(s *podstate.Session, rate string) string {
	row := []string{s.App, fmt.Sprint(s.PID), s.State, strings.Join(s.Groups, ", "), count(s.Partitions), unknown, unknown, count(s.Outstanding.Records), unknown, rate, unknown, unknown, "the sidecar finishes its work"}
	if s.NoWill != "" {
		row[12] = "no will: " + s.NoWill
	}
	if p := s.Process; p != nil {
		if p.Direct {
			row[2] = "direct"
		}
		if p.Lanes > 0 {
			row[5] = count(p.Busy) + " of " + count(p.Lanes)
		}
		row[6], row[8], row[10], row[11] = count(p.Queued), count(p.Counters.Done), count(p.Counters.Retries), count(p.Counters.DeadLetters)
	}
	return strings.Join(row, " | ")
}

// stations are the way of a record through a pod that has a sidecar: of each its number, its two
// facts and its rate.
func stations(pod *podstate.Pod, r rates) []string {
	var topics []string
	var inHand, lag, retries int64
	var lanes, busy int
	lagTold := len(pod.Partitions) == 0
	states := map[podstate.PartitionState]int{}
	for i := range pod.Partitions {
		p := &pod.Partitions[i]
		if !slices.Contains(topics, p.Topic) {
			topics = append(topics, p.Topic)
		}
		inHand += p.Counts.Pending
		lag += max(p.Lag(), 0)
		lagTold = lagTold || p.Lag() >= 0
		states[p.State]++
	}
	for _, s := range pod.Sessions {
		if p := s.Process; p != nil {
			lanes, busy, retries = lanes+p.Lanes, busy+p.Busy, retries+p.Counters.Retries
		}
	}
	held, behind := "none is held", "lag not told"
	if n := len(topics); n > 0 {
		held = strings.Join(topics[:min(n, 2)], ", ")
		if n > 2 {
			held += " and " + count(n-2) + " more"
		}
	}
	if lagTold {
		behind = count(lag) + " behind"
	}
	var other []string
	for _, state := range []podstate.PartitionState{podstate.Halted, podstate.Waiting, podstate.Leaving, podstate.Paused} {
		if n := states[state]; n > 0 {
			other = append(other, count(n)+" "+string(state))
		}
	}
	if len(other) == 0 {
		other = []string{"all are read"}
	}
	handlers := unknown
	if lanes > 0 {
		handlers = count(busy) + " of " + count(lanes) + " busy"
	}
	s := pod.Sidecar
	used := max(float64(s.Queue.Bytes)/float64(s.QueueLimit.Bytes), float64(s.Queue.Records)/float64(s.QueueLimit.Records))
	full := 0
	for _, q := range pod.Queues {
		if q.Full {
			full++
		}
	}
	reachable := "reachable"
	if s.KafkaError != "" {
		reachable = "not reachable"
	}
	return []string{
		station(count(len(topics)), held, behind, r.arrived),
		station(count(len(pod.Partitions)), strings.Join(other, ", "), count(inHand)+" in hand", r.read),
		station(handlers, plural(len(pod.Sessions), "process", "processes"), count(retries)+" retries", r.done),
		station(count(s.Queue.Records)+" waiting", fmt.Sprintf("queue %.0f%% full", math.Floor(used*100+.5)), plural(full, "full partition", "full partitions"), r.acked),
		station(plural(s.Connections, "connection", "connections"), reachable, count(pod.Counters.Failed)+" failed", ""),
	}
}

func station(parts ...string) string { return strings.Join(parts, "; ") }

// charts are the newest values of the four charts.
func (m *model) charts(pod *podstate.Pod, r rates) []string {
	now := seconds(pod.Time)
	var inHand int64
	age, known := -1.0, true
	for i := range pod.Partitions {
		p := &pod.Partitions[i]
		inHand += p.Counts.Pending
		age = max(age, oldest(p, now))
		known = known && p.Oldest == nil
	}
	if r.known {
		m.chart = or(r.arrived, unknown) + " " + r.done
	}
	latency := unknown + " " + unknown
	if l := pod.Latency; l != nil && l.Count > 0 {
		latency = span(float64(l.P50)/1e6) + " " + span(float64(l.P99)/1e6)
	}
	oldest, mean := unknown, unknown
	if age >= 0 || known {
		oldest = span(max(age, 0))
	}
	if r.perSecond > 0 {
		mean = span(float64(inHand) / r.perSecond)
	}
	return []string{m.chart, latency, oldest + " " + mean, short(float64(inHand)) + " " + short(float64(pod.Sidecar.Queue.Records))}
}

func or(a, b string) string {
	if a == "" {
		return b
	}
	return a
}
