package bench

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/ackmark/ackmark/internal/proof/figures"
)

// perRecord is nanoseconds of processor time.
func perRecord(cpu time.Duration, records int) float64 { return float64(cpu) / float64(records) }

// series are what each run came to; a run of which it is not known is left out.
func (w *SessionMode) series(of func(*SessionRun) (float64, bool)) (all []float64) {
	for i := range w.Runs {
		if v, known := of(&w.Runs[i]); known {
			all = append(all, v)
		}
	}
	return all
}

// figure is one that the table has of both modes.
type figure struct {
	name   string
	format func(float64) string
	of     func(*SessionRun) (float64, bool)
}

func whole(v float64) string    { return figures.Thousands(int(math.Round(v))) }
func decimals(v float64) string { return fmt.Sprintf("%.1f", v) }

func always(of func(*SessionRun) float64) func(*SessionRun) (float64, bool) {
	return func(r *SessionRun) (float64, bool) { return of(r), true }
}

func brokersOf(load func(*SessionRun) *SessionLoad) func(*SessionRun) (float64, bool) {
	return func(r *SessionRun) (float64, bool) {
		l := load(r)
		if l.BrokersCPU == nil {
			return 0, false
		}
		return perRecord(*l.BrokersCPU, l.Records), true
	}
}

func saturatedOf(r *SessionRun) *SessionLoad { return &r.Saturated }
func pacedOf(r *SessionRun) *SessionLoad     { return &r.Paced }

func (l *SessionLoad) perMillion(n int64) float64 { return float64(n) * 1e6 / float64(l.Records) }
func (l *SessionLoad) perSecond(n int64) float64  { return float64(n) / l.Wall.Seconds() }
func (l *SessionLoad) speed() float64             { return float64(l.Records) / l.Wall.Seconds() }

var saturatedFigures = []figure{
	{"records/s", whole, always(func(r *SessionRun) float64 { return r.Saturated.speed() })},
	{"clients' CPU, ns/record", whole, always(func(r *SessionRun) float64 { return perRecord(r.Saturated.clients().CPU, r.Saturated.Records) })},
	{"brokers' CPU, ns/record", whole, brokersOf(saturatedOf)},
	{"transactions per million records", whole, always(func(r *SessionRun) float64 { return r.Saturated.perMillion(r.Saturated.clients().Transactions) })},
	{"requests per million records", whole, always(func(r *SessionRun) float64 { return r.Saturated.perMillion(r.Saturated.clients().Requests) })},
	{"connections", whole, always(func(r *SessionRun) float64 { return float64(r.Saturated.clients().Connections) })},
}

var pacedFigures = []figure{
	{"p50, ms", decimals, always(func(r *SessionRun) float64 { return r.P50 })},
	{"p90, ms", decimals, always(func(r *SessionRun) float64 { return r.P90 })},
	{"p99, ms", decimals, always(func(r *SessionRun) float64 { return r.P99 })},
	{"clients' CPU, ns/record", whole, always(func(r *SessionRun) float64 { return perRecord(r.Paced.clients().CPU, r.Paced.Records) })},
	{"brokers' CPU, ns/record", whole, brokersOf(pacedOf)},
	{"transactions/s", decimals, always(func(r *SessionRun) float64 { return r.Paced.perSecond(r.Paced.clients().Transactions) })},
	{"requests/s", whole, always(func(r *SessionRun) float64 { return r.Paced.perSecond(r.Paced.clients().Requests) })},
}

// title names a mode with its interval.
func (s *Session) title(w *SessionMode) string {
	if w == s.own() {
		return w.Name + ", " + s.interval()
	}
	return w.Name
}

// interval is what the sessions' transactions take.
func (s *Session) interval() string {
	if s.SessionEvery == 0 {
		return "one poll each"
	}
	return "polls of " + s.SessionEvery.String()
}

// latencies is how much longer the sessions' median latency is than the sidecar's.
func (s *Session) latencies() float64 {
	p50 := pacedFigures[0].of
	return median(pairs(s.own().series(p50), s.sidecars().series(p50)))
}

func (s *Session) equal() bool { return math.Abs(s.latencies()-1) <= equalWithin }

func renderSession(out *strings.Builder, all []*Session) {
	for _, s := range all {
		if len(s.own().Runs) == 0 {
			continue
		}
		fmt.Fprintf(out, "\nExactly-once of %d processes, %d partitions, a round trip of %s to the brokers: one sidecar that commits every %s,\n", s.Processes, s.Partitions, s.RoundTrip, s.CommitEvery)
		fmt.Fprintf(out, "or a GroupTransactSession of franz-go in each process, a transaction for %s. Medians of %d runs.\n", s.interval(), len(s.own().Runs))
		fmt.Fprintf(out, "%s\n", s.comparison())
		fmt.Fprintln(out, "\n  Saturated: from the common start until all inputs are committed.")
		s.render(out, saturatedFigures)
		fmt.Fprintf(out, "\n  Paced: %d records a second of each process, from due to read by a reader of committed records.\n", s.RatePerSecond)
		s.render(out, pacedFigures)
	}
}

// comparison says at which latencies the two are compared.
func (s *Session) comparison() string {
	text := fmt.Sprintf("The sessions' median latency is %.2f of the sidecar's", s.latencies())
	if s.equal() {
		text += ", equal within 10 %"
	} else {
		text += ": NOT equal within 10 %"
	}
	if s.Wanted == 0 {
		return text + "; their interval was given."
	}
	var tried []string
	for _, t := range s.Trials {
		tried = append(tried, fmt.Sprintf("%s: %.1f", t.Every, t.Median))
	}
	return text + fmt.Sprintf("; their interval was looked for at %.1f ms (%s ms).", s.Wanted, strings.Join(tried, ", "))
}

func (s *Session) render(out *strings.Builder, all []figure) {
	rows := [][]string{{"", s.sidecars().Name, s.own().Name, "sidecar / session", "interval"}}
	for _, f := range all {
		one, own := s.sidecars().series(f.of), s.own().series(f.of)
		if len(one) == 0 || len(own) == 0 {
			rows = append(rows, []string{f.name, "–", "–", "–", "–"})
			continue
		}
		ratio := interval(pairs(one, own))
		rows = append(rows, []string{f.name, f.format(median(one)), f.format(median(own)), strconv.FormatFloat(ratio.Median, 'g', 3, 64), ratio.bounds()})
	}
	table(out, rows)
}

// sessionGoals are of G5: five times the speed at an equal latency.
func sessionGoals(all []*Session, add func(Goal, []float64)) {
	for _, s := range all {
		at := "at equal latency"
		if !s.equal() {
			at = fmt.Sprintf("at %.2f of its latency", 1/s.latencies())
		}
		what := fmt.Sprintf("%d processes, %s / session, %s, %s, speed", s.Processes, s.sidecars().Name, s.interval(), at)
		speed := saturatedFigures[0].of
		add(Goal{Name: "G5", What: what, Must: 5, Stretch: 10, AtLeast: true}, pairs(s.sidecars().series(speed), s.own().series(speed)))
	}
}
