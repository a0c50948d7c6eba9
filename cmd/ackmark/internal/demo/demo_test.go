package demo

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// feed reads all inputs of a file with this content.
func feed(t *testing.T, content string, o Options) ([]string, int, error) {
	t.Helper()
	dir := t.TempDir()
	if o.Input == "" {
		o.Input = filepath.Join(dir, "lines")
		if err := os.WriteFile(o.Input, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	src, n, err := openSource(o, dir)
	if err != nil {
		return nil, 0, err
	}
	defer src.Close()
	var got []string
	for {
		key, value, err := src.next()
		if errors.Is(err, io.EOF) {
			return got, n, nil
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(key) == 0 || value == nil {
			t.Fatalf("input %d has key %q and value %v: neither may be missing", len(got), key, value)
		}
		got = append(got, string(value))
	}
}

func TestInputLines(t *testing.T) {
	long := strings.Repeat("x", 200_000)
	for name, tc := range map[string]struct {
		content string
		records int
		want    []string
	}{
		"plain":               {"a\nb\n", 0, []string{"a", "b"}},
		"no trailing newline": {"a\nb", 0, []string{"a", "b"}},
		"empty lines":         {"\n\na\n\n", 0, []string{"", "", "a", ""}},
		"one empty line":      {"\n", 0, []string{""}},
		"any bytes":           {"\xff\x00\r\n\xc3\x28\n", 0, []string{"\xff\x00\r", "\xc3\x28"}},
		"repeated lines":      {"a\na\na\n", 0, []string{"a", "a", "a"}},
		"long line":           {long + "\nb\n", 0, []string{long, "b"}},
		"the first ones":      {"a\nb\nc\n", 2, []string{"a", "b"}},
		"fewer than asked":    {"a\nb", 9, []string{"a", "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, from := range []string{"file", "stdin"} {
				o := Options{Records: tc.records}
				if from == "stdin" {
					o.Input, o.Stdin = "-", strings.NewReader(tc.content)
				}
				got, n, err := feed(t, tc.content, o)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tc.want, got); diff != "" || n != len(tc.want) {
					t.Errorf("from %s: %d lines, %s", from, n, diff)
				}
			}
		})
	}
}

func TestInputErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		content string
		o       Options
		want    string
	}{
		"empty file":  {"", Options{}, "has no lines"},
		"no file":     {"", Options{Input: "/nowhere/x"}, "no such file"},
		"a directory": {"", Options{Input: "/"}, "a directory; name a file"},
		"line too long": {
			"a\n" + strings.Repeat("x", maxLineBytes+1), Options{}, "line 2 is longer than 900000 bytes",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := feed(t, tc.content, tc.o)
			if _, ok := errors.AsType[*UsageError](err); !ok || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want a usage error with %q", err, tc.want)
			}
		})
	}
}

func TestEndlessInputIsRefusedUnlessCut(t *testing.T) {
	endless := io.MultiReader(strings.NewReader("a\nb\n"), endlessLines{})
	got, _, err := feed(t, "", Options{Input: "-", Stdin: endless, Records: 3})
	if err != nil || len(got) != 3 {
		t.Errorf("got %q, %v; want three lines", got, err)
	}
	if err := copyLines(io.Discard, endlessLines{}, 0, 1<<20); err == nil || !strings.Contains(err.Error(), "--records") {
		t.Errorf("an endless input: got %v, want an error that names --records", err)
	}
}

type endlessLines struct{}

func (endlessLines) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '\n'
	}
	return len(p), nil
}

func output(id int, key, value string) *kgo.Record {
	return &kgo.Record{Key: []byte(key), Value: []byte(value), Headers: []kgo.RecordHeader{{Key: idHeader, Value: []byte(strconv.Itoa(id))}}}
}

func TestChecker(t *testing.T) {
	fed := &ledger{}
	for _, v := range []string{"a", "b", "c", "d"} {
		fed.add(checksum(transform([]byte(v))))
	}
	c := newChecker(fed, 4)
	for _, r := range []*kgo.Record{
		output(0, "k", "A"), output(2, "k", "C"), output(1, "k", "B"), // reordered
		output(2, "k", "C"),   // duplicated
		output(3, "l", "no"),  // altered
		output(9, "k", "?"),   // foreign
		{Value: []byte("??")}, // foreign: no id
	} {
		c.observe(r)
	}
	want := counts{Outputs: 7, Distinct: 4, Duplicated: 1, Reordered: 1, Altered: 1, Foreign: 2}
	if diff := cmp.Diff(want, c.counts()); diff != "" {
		t.Error(diff)
	}
}

func TestTransformKeepsOtherBytes(t *testing.T) {
	in := []byte("az\xff\x00ä{`Z")
	if got := transform(in); !bytes.Equal(got, []byte("AZ\xff\x00ä{`Z")) {
		t.Errorf("got %q", got)
	}
}

func TestStallIsTimeWithInputsWaiting(t *testing.T) {
	s, at := newStalls(1), func(seconds int) time.Time { return time.Unix(int64(seconds), 0) }
	s.input(0, at(10))
	s.output(0, at(11)) // waited 1 s
	s.input(0, at(20))  // idle before: no stall
	s.input(0, at(21))
	s.output(0, at(22)) // 2 s
	s.output(0, at(25)) // 3 s since the last
	if got := s.max(); got != 3*time.Second {
		t.Errorf("the longest stall is %s, want 3s", got)
	}
}

func TestScheduleRepeatsAndBurstsAverageOut(t *testing.T) {
	p := newPlan(Options{Seed: 7}, DefaultRecords)
	if diff := cmp.Diff(killSchedule(p), p.killAt, cmp.AllowUnexported(kill{})); diff != "" || len(p.killAt) != DefaultKills {
		t.Errorf("the same seed gives another schedule: %s", diff)
	}
	for _, k := range p.killAt {
		if k.at > p.duration {
			t.Errorf("a kill at %s is after the load of %s", k.at, p.duration)
		}
	}
	if n := due(20*time.Second, 100); n != 2000 {
		t.Errorf("%d are due after 20 s at 100/s, want 2000", n)
	}
	last := 0
	for ms := range 4000 {
		n := due(time.Duration(ms)*time.Millisecond, 1000)
		if n < last {
			t.Fatalf("due falls at %d ms", ms)
		}
		last = n
	}
	// Together the processes keep up, one alone does not.
	perProcess := float64(p.Workers) / p.Work.Seconds()
	if perProcess >= p.Rate || perProcess*float64(p.Processes) <= 1.2*p.Rate {
		t.Errorf("a process does %.0f/s for %.0f inputs/s", perProcess, p.Rate)
	}
}

func TestTableFits80Columns(t *testing.T) {
	r := &result{
		Settings: settingsOut{SessionTimeoutSeconds: 2}, ElapsedSeconds: 18.2, Seed: 42,
		Ackmark:    &sideResult{Inputs: 12_345_678, counts: counts{Outputs: 12_345_679, Duplicated: 1}, Kills: 4, HeldAtKill: []int64{1, 2, 3, 4}, BrokerConnections: 15},
		AutoCommit: &sideResult{Inputs: 12_345_678, counts: counts{Outputs: 12_345_000, Altered: 1}, Lost: 678, Kills: 4, HeldAtKill: []int64{1000, 2, 3, 4}, BrokerConnections: 20},
	}
	third := *r
	third.ExactlyOnce = r.Ackmark
	for line := range strings.Lines(r.table() + third.table()) {
		if n := len([]rune(strings.TrimRight(line, "\n"))); n > 79 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if got := clip(bold+"abc"+reset+"def", 4); got != bold+"abc"+reset+"d" {
		t.Errorf("clip gives %q", got)
	}
}

func TestOptionErrors(t *testing.T) {
	for want, o := range map[string]Options{
		"--records is -1":          {Records: -1},
		"--rate is -1":             {Rate: -1},
		"--kills is 101":           {Kills: 101},
		"--partitions is 5000":     {Partitions: 5000},
		"--processes is 50":        {Processes: 50},
		"--work is 1m0s":           {Work: time.Minute},
		"--workers is 2000":        {Workers: 2000},
		"--session-timeout is 1ms": {SessionTimeout: time.Millisecond},
	} {
		if err := o.validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want an error that starts with %q", err, want)
		}
	}
}
