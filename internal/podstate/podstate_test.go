package podstate_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/ackmark/ackmark/internal/podstate"
	"github.com/ackmark/ackmark/internal/sentinel"
	"github.com/ackmark/ackmark/internal/telemetry"
)

// The JSON names are a promise: what a page or a script reads today is there tomorrow.
func TestNamesAreAPromise(t *testing.T) {
	at := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	pod := podstate.Pod{
		Time:     at,
		Sidecar:  &podstate.Sidecar{ID: "s", Since: at},
		Sessions: []podstate.Session{{ID: "a", Groups: []string{"g"}, Process: &podstate.Process{}}},
		Partitions: []podstate.Partition{{
			Topic: "t", State: podstate.Reading, Done: []podstate.Run{{First: 3, Last: 4}},
			Oldest: &podstate.Oldest{Offset: 1, Stage: podstate.Handling, Since: at, Behind: -1},
		}},
		Queues:    []podstate.Queue{{Topic: "o", Amount: podstate.Amount{Records: 1, Bytes: 2}}},
		Incidents: []podstate.Incident{{Time: at, Kind: podstate.Halt}},
		Sentinels: &podstate.Sentinels{}, Latency: &podstate.Latency{},
	}
	text, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Fields(`time sidecar sessions partitions queues wills incidents sentinels counters
		broker_connections broker_connections_without queue_limit pid since state credit outstanding process told groups
		lanes busy queued finished direct offsets start committed ack_mark handled fetched log_end
		counts read inherited done done_above pending pending_bytes parked lost oldest offset stage lane attempt behind next
		records bytes full kind count reason records_acked records_failed produce_requests latency p50_us p95_us p99_us p999_us`) {
		if name != "told" && !strings.Contains(string(text), `"`+name+`":`) {
			t.Errorf("no %q in %s", name, text)
		}
	}
	if strings.Contains(string(text), "0001-01-01") {
		t.Errorf("a time that is not known is shown: %s", text)
	}
}

func TestText(t *testing.T) {
	for _, s := range []string{"", "short", strings.Repeat("x", 5000), strings.Repeat("ä", 300), strings.Repeat("€", 400), "\xff\xfe", strings.Repeat("\xff", 2000)} {
		got := podstate.Text(s)
		if len(got) > podstate.MaxText || !utf8.ValidString(got) {
			t.Errorf("%.10q…: %d bytes, valid %t", s, len(got), utf8.ValidString(got))
		}
		if len(s) <= podstate.MaxText && utf8.ValidString(s) && got != s {
			t.Errorf("%q became %q", s, got)
		}
	}
}

func TestPartitionsThatAPeerMayNotTell(t *testing.T) {
	good := func() podstate.Partition {
		return podstate.Partition{
			State: podstate.Reading, Offsets: podstate.Offsets{Start: -1, AckMark: 5, LogEnd: 20},
			Done:   []podstate.Run{{First: 7, Last: 7}, {First: 9, Last: 12}},
			Oldest: &podstate.Oldest{Offset: 5, Stage: podstate.Queued, Lane: -1, Behind: -1, KeyHash: "00112233aabbccdd"},
		}
	}
	if p := good(); p.Validate() != nil {
		t.Fatal(p.Validate())
	}
	for name, spoil := range map[string]func(*podstate.Partition){
		"an offset below -1":     func(p *podstate.Partition) { p.Offsets.Handled = -2 },
		"an offset at the end":   func(p *podstate.Partition) { p.Offsets.LogEnd = math.MaxInt64 },
		"a negative count":       func(p *podstate.Partition) { p.Counts.Pending = -1 },
		"no state":               func(p *podstate.Partition) { p.State = "" },
		"a state of its own":     func(p *podstate.Partition) { p.State = "\x1b[31m" },
		"too many runs":          func(p *podstate.Partition) { p.Done = make([]podstate.Run, podstate.MaxRuns+1) },
		"a run below the mark":   func(p *podstate.Partition) { p.Done[0].First = 4 },
		"runs out of order":      func(p *podstate.Partition) { p.Done[1].First = 7 },
		"a run that ends before": func(p *podstate.Partition) { p.Done[0].Last = 6 },
		"a run without an end":   func(p *podstate.Partition) { p.Done[1].Last = math.MaxInt64 },
		"a stage of its own":     func(p *podstate.Partition) { p.Oldest.Stage = "lost" },
		"a lane below -1":        func(p *podstate.Partition) { p.Oldest.Lane = -2 },
		"a key for its hash":     func(p *podstate.Partition) { p.Oldest.KeyHash = "customer-17" },
		"a hash with a newline":  func(p *podstate.Partition) { p.Oldest.KeyHash = "00112233aabbccd\n" },
		"a long error":           func(p *podstate.Partition) { p.Oldest.Error = strings.Repeat("x", podstate.MaxText+1) },
	} {
		p := good()
		spoil(&p)
		if p.Validate() == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestIncidentsThatAPeerMayNotTell(t *testing.T) {
	for _, in := range []podstate.Incident{
		{}, {Kind: "party"}, {Kind: podstate.Halt, Count: -1}, {Kind: podstate.Halt, Partition: -1},
		{Kind: podstate.Halt, Reason: strings.Repeat("x", podstate.MaxText+1)}, {Kind: podstate.Halt, Topic: strings.Repeat("x", podstate.MaxTopic+1)},
	} {
		if in.Validate() == nil {
			t.Errorf("%v is taken", in)
		}
	}
	if in := (podstate.Incident{Kind: podstate.Halt, Topic: "t", Count: 3}); in.Validate() != nil {
		t.Error(in.Validate())
	}
}

// The ring keeps the last ones, and a storm of one kind is one of them.
func TestIncidents(t *testing.T) {
	at := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	r := podstate.NewIncidents(3)
	for i, topic := range []string{"a", "b", "c", "d"} {
		r.Add(podstate.Incident{Time: at.Add(time.Duration(i) * time.Minute), Kind: podstate.Halt, Topic: topic})
	}
	for i := range 1000 {
		r.Add(podstate.Incident{Time: at.Add(time.Hour + time.Duration(i)*time.Microsecond), Kind: podstate.DeadLetter, Topic: "a"})
	}
	got := r.List()
	if len(got) != 3 || got[0].Kind != podstate.DeadLetter || got[0].Count != 1000 || got[1].Topic != "d" || got[2].Topic != "c" {
		t.Errorf("%+v", got)
	}
	if r.Added() != 5 {
		t.Errorf("%d kept in all, want 5", r.Added())
	}
	r.Add(podstate.Incident{Time: at.Add(2 * time.Hour), Kind: podstate.DeadLetter, Topic: "a"})
	if got := r.List(); got[0].Count != 1 || got[1].Count != 1000 {
		t.Errorf("an hour later is another incident: %+v", got)
	}
	if got := r.After(r.Added() - 2); len(got) != 2 || got[0].Count != 1000 || got[1].Count != 1 {
		t.Errorf("the last two: %+v", got)
	}
	r.Add(podstate.Incident{Time: at.Add(2 * time.Hour), Kind: podstate.DeadLetter, Topic: "a"})
	if got := r.After(r.Added() - 1); len(got) != 1 || got[0].Count != 1 {
		t.Errorf("counted with one that was told: %+v", got)
	}
	if len(r.After(0)) != 3 || len(r.After(1<<40)) != 0 {
		t.Error("of all, the three that are kept; of none, none")
	}
	var none podstate.Incidents
	none.Add(podstate.Incident{Kind: podstate.Halt})
	if len(none.List()) != 0 {
		t.Error("the zero value keeps something")
	}
}

func TestLagAndAge(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	p := podstate.Partition{Offsets: podstate.Offsets{AckMark: 5, LogEnd: 20}, Oldest: &podstate.Oldest{Since: now.Add(-time.Second)}}
	if p.Lag() != 15 || p.Age(now) != time.Second {
		t.Error(p.Lag(), p.Age(now))
	}
	if p.Oldest.Since = now.Add(time.Hour); p.Age(now) != 0 {
		t.Error("an age below zero")
	}
	if p.Offsets.LogEnd, p.Oldest = -1, nil; p.Lag() != -1 || p.Age(now) != 0 {
		t.Error(p.Lag(), p.Age(now))
	}
}

// Every field counts in Plus and in Equal: one that is forgotten there is never summed, or never
// told.
func TestEveryFieldCounts(t *testing.T) {
	var ones podstate.Counters
	v := reflect.ValueOf(&ones).Elem()
	for i := range v.NumField() {
		v.Field(i).SetInt(1)
	}
	sum := reflect.ValueOf(ones.Plus(ones))
	for i := range sum.NumField() {
		if sum.Field(i).Int() != 2 {
			t.Errorf("Plus leaves %s out", sum.Type().Field(i).Name)
		}
	}
	fresh := func() *podstate.Partition {
		return &podstate.Partition{Done: []podstate.Run{{First: 1, Last: 1}}, Oldest: &podstate.Oldest{Offset: 5}}
	}
	if !fresh().Equal(fresh()) {
		t.Error("equal ones differ")
	}
	each(reflect.ValueOf(fresh()).Elem(), "Partition", func(path string, change func(*podstate.Partition)) {
		p := fresh()
		change(p)
		if p.Equal(fresh()) || fresh().Equal(p) {
			t.Errorf("Equal does not see %s", path)
		}
	})
}

// each calls fn with a change of each field.
func each(v reflect.Value, path string, fn func(string, func(*podstate.Partition)), way ...int) {
	for i := range v.NumField() {
		at, name := append(slices.Clone(way), i), path+"."+v.Type().Field(i).Name
		f := v.Field(i)
		if f.Kind() == reflect.Pointer {
			f = f.Elem()
		}
		if f.Kind() == reflect.Struct && f.Type() != reflect.TypeFor[time.Time]() {
			each(f, name, fn, at...)
			continue
		}
		fn(name, func(p *podstate.Partition) {
			f := reflect.ValueOf(p).Elem()
			for _, i := range at {
				if f.Kind() == reflect.Pointer {
					f = f.Elem()
				}
				f = f.Field(i)
			}
			switch f.Kind() {
			case reflect.String:
				f.SetString("x")
			case reflect.Bool:
				f.SetBool(true)
			case reflect.Slice:
				f.Set(reflect.Zero(f.Type()))
			case reflect.Uint64:
				f.SetUint(77)
			case reflect.Struct:
				f.Set(reflect.ValueOf(time.Unix(1, 0)))
			default:
				f.SetInt(77)
			}
		})
	}
}

// Sentinels have one name each, everywhere: that of the metric and of the log.
func TestSentinelsHaveOneName(t *testing.T) {
	text, err := json.Marshal(podstate.Sentinels{})
	if err != nil {
		t.Fatal(err)
	}
	var named map[string]int64
	if err := json.Unmarshal(text, &named); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../admin/page/model.js")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range sentinel.Kinds {
		if _, ok := named[k.String()]; !ok || !strings.Contains(string(page), `"`+k.String()+`"`) {
			t.Errorf("%s is not in %s, or not on the page", k, text)
		}
		if !slices.ContainsFunc(telemetry.Metrics, func(m *telemetry.Metric) bool { return m.Name == "ackmark.sentinel."+k.String() }) {
			t.Errorf("%s has no metric", k)
		}
	}
	if len(named) != len(sentinel.Kinds) {
		t.Errorf("%s has others", text)
	}
}

// A process that holds nothing yet, and to which nothing has happened, has lists without an entry,
// not null: the page goes through them.
func TestOwnHasListsWithoutEntries(t *testing.T) {
	pod := podstate.Own(podstate.Report{}, "g", new(podstate.Events).All(), time.Now())
	text, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range []string{"sessions", "partitions", "queues", "incidents"} {
		if strings.Contains(string(text), `"`+list+`":null`) {
			t.Errorf("%s is null: %s", list, text)
		}
	}
}

// A storm of aborts, one a second with rebalances in between, is one incident as long as no minute
// passes without, and is told again after ten.
func TestAStormOfAborts(t *testing.T) {
	at := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	r := podstate.NewIncidents(32)
	count := func() (entries int, all int64) {
		for _, in := range r.List() {
			if in.Kind == podstate.Abort {
				entries++
				all += in.Count
			}
		}
		return entries, all
	}
	for i := range 1800 {
		now := at.Add(time.Duration(i) * time.Second)
		r.Add(podstate.Incident{Time: now, Kind: podstate.Abort, Reason: fmt.Sprint(i)})
		if i%300 == 7 {
			r.Add(podstate.Incident{Time: now, Kind: podstate.Rebalance, Reason: "in between"})
		}
	}
	if entries, all := count(); entries != 3 || all != 1800 {
		t.Errorf("half an hour has %d incidents, that count %d", entries, all)
	}
	if list := r.List(); list[len(list)-1].Reason != "599" || !list[len(list)-1].Time.Equal(at) {
		t.Errorf("the first: %+v", list[len(list)-1])
	}
	later := at.Add(1799*time.Second + time.Minute)
	r.Add(podstate.Incident{Time: later, Kind: podstate.Abort})
	if entries, all := count(); entries != 4 || all != 1801 {
		t.Errorf("a minute later: %d incidents, that count %d", entries, all)
	}
	r.After(0) // told
	r.Add(podstate.Incident{Time: later, Kind: podstate.Abort})
	if entries, all := count(); entries != 5 || all != 1802 {
		t.Errorf("counted with what was told: %d incidents, that count %d", entries, all)
	}
	for i := range 99 { // what is not kept any more is not counted with
		r.Add(podstate.Incident{Time: later, Kind: podstate.Halt, Topic: fmt.Sprint(i)})
	}
	r.Add(podstate.Incident{Time: later, Kind: podstate.Abort, Reason: "new"})
	if in := r.List()[0]; in.Kind != podstate.Abort || in.Count != 1 || in.Reason != "new" {
		t.Errorf("%+v", in)
	}
}
