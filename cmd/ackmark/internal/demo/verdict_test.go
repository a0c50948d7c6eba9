package demo

import (
	"context"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// One input that Ackmark lost, altered or reordered is an error, and the table is printed all the
// same. What auto-commit loses is none.
func TestOneLostInputIsAnError(t *testing.T) {
	for name, c := range map[string]struct {
		ackmark sideResult
		want    any // an error, or nil
	}{
		"clean":      {sideResult{}, nil},
		"lost":       {sideResult{Lost: 1}, &LostError{Lost: 1}},
		"altered":    {sideResult{counts: counts{Altered: 1}}, &LostError{Altered: 1}},
		"reordered":  {sideResult{counts: counts{Reordered: 1}}, &LostError{Reordered: 1}},
		"unfinished": {sideResult{Unfinished: 1}, &UnfinishedError{Inputs: 1, Idle: 33 * time.Second}},
		"both":       {sideResult{Lost: 1, Unfinished: 1}, &LostError{Lost: 1}},
	} {
		for _, asJSON := range []bool{false, true} {
			var out strings.Builder
			s := &show{plan: newPlan(Options{Stdout: &out, JSON: asJSON, Work: -1}, 10)}
			err := s.conclude(&result{Ackmark: &c.ackmark, AutoCommit: &sideResult{Lost: 5}})
			if !reflect.DeepEqual(any(err), c.want) {
				t.Errorf("%s: %#v, want %#v", name, err, c.want)
			}
			if !strings.Contains(out.String(), "lost") {
				t.Errorf("%s: nothing is printed:\n%s", name, &out)
			}
		}
	}
}

// No rate makes a number that is none, or a 0 that is not.
func TestSlowRates(t *testing.T) {
	for rate, want := range map[float64]string{0.2: "0.2/s on average", 4.5: "4.5/s on average", 1234.5: "1,234/s on average"} {
		s := &show{plan: newPlan(Options{Rate: rate}, 10), cluster: &cluster{}}
		if text := s.intro(); !strings.Contains(text, want) {
			t.Errorf("rate %g: no %q in\n%s", rate, want, text)
		}
		s.cluster.dev = nil
		r := s.newResult()
		r.Ackmark, r.AutoCommit = &sideResult{}, &sideResult{Kills: 1, HeldAtKill: []int64{3}}
		if text := r.story(); strings.Contains(text, "Inf") || strings.Contains(text, "NaN") || strings.Contains(text, "e+") {
			t.Errorf("rate %g:\n%s", rate, text)
		}
	}
	if err := newPlan(Options{Rate: 1e-9}, 16_000).validate(); err == nil {
		t.Error("a show of 500,000 years is taken")
	}
}

// Inputs without an output are lost where the group's commit is past them; behind it they are only
// not done yet.
func TestVerdictTellsLostFromUnfinished(t *testing.T) {
	ctx := context.Background()
	s := &show{plan: newPlan(Options{Partitions: 1}, 10)}
	var err error
	if s.cluster, err = openCluster(ctx, s.plan); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.cluster.close(ctx); err != nil {
			t.Error(err)
		}
	}()
	s.prepare(nil, "unused")
	if err := s.cluster.createTopics(ctx, 1, s.ackmark.output, s.auto.output); err != nil {
		t.Fatal(err)
	}
	write := func(topic string, id int, value string) {
		t.Helper()
		r := &kgo.Record{Topic: topic, Key: []byte("k"), Value: []byte(value), Headers: []kgo.RecordHeader{{Key: idHeader, Value: strconv.AppendInt(nil, int64(id), 10)}}}
		if err := s.cluster.client.ProduceSync(ctx, r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for id := range s.Records {
		s.gen.ledger.add(checksum([]byte("X")))
		write(s.cluster.input, id, "x")
	}
	for _, id := range []int{0, 1, 2, 2, 7} { // 3 has no output
		write(s.auto.output, id, "X")
	}
	commit := kadm.Offsets{}
	commit.AddOffset(s.cluster.input, 0, 4, -1)
	if _, err := s.cluster.adm.CommitOffsets(ctx, s.auto.group, commit); err != nil {
		t.Fatal(err)
	}
	got, err := s.judge(ctx, s.auto)
	if err != nil {
		t.Fatal(err)
	}
	if got.Lost != 1 || got.Unfinished != 5 || got.Lag != 6 || got.Duplicated != 1 {
		t.Errorf("lost %d, not done yet %d, lag %d, duplicated %d; want 1 (id 3), 5 (4, 5, 6, 8, 9), 6 and 1", got.Lost, got.Unfinished, got.Lag, got.Duplicated)
	}
}

// Exactly-once has to be that: one repeated output is an error, too, and what was aborted is none.
// A reader of the verdict sees committed records only.
func TestOneRepeatedOutputIsNotOnce(t *testing.T) {
	for name, c := range map[string]struct {
		exact sideResult
		want  any // an error, or nil
	}{
		"clean":      {sideResult{Aborted: 7}, nil},
		"repeated":   {sideResult{counts: counts{Duplicated: 1}}, &NotOnceError{Duplicated: 1}},
		"lost":       {sideResult{Lost: 2}, &NotOnceError{Lost: 2}},
		"unfinished": {sideResult{Unfinished: 1}, &UnfinishedError{Inputs: 1, Idle: 33 * time.Second}},
	} {
		var out strings.Builder
		s := &show{plan: newPlan(Options{Stdout: &out, Work: -1}, 10)}
		err := s.conclude(&result{Ackmark: &sideResult{}, AutoCommit: &sideResult{Lost: 5}, ExactlyOnce: &c.exact})
		if !reflect.DeepEqual(any(err), c.want) {
			t.Errorf("%s: %#v, want %#v", name, err, c.want)
		}
		if !strings.Contains(out.String(), "exactly-once") {
			t.Errorf("%s: no third column:\n%s", name, &out)
		}
	}
}

// What was aborted is no output for the verdict's reader, and counted beside it.
func TestVerdictTellsAborted(t *testing.T) {
	ctx := context.Background()
	s := &show{plan: newPlan(Options{Partitions: 1, ExactlyOnce: true}, 3)}
	var err error
	if s.cluster, err = openCluster(ctx, s.plan); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.cluster.close(ctx); err != nil {
			t.Error(err)
		}
	}()
	s.prepare(nil, "unused")
	if err := s.cluster.createTopics(ctx, 1, s.outputs()...); err != nil {
		t.Fatal(err)
	}
	cl, err := kgo.NewClient(append(s.cluster.opts, kgo.TransactionalID("t"))...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for _, how := range []kgo.TransactionEndTry{kgo.TryAbort, kgo.TryCommit} {
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for id := range s.Records {
			if how == kgo.TryAbort {
				s.gen.ledger.add(checksum([]byte("X")))
			}
			r := &kgo.Record{Topic: s.exact.output, Value: []byte("X"), Headers: []kgo.RecordHeader{{Key: idHeader, Value: strconv.AppendInt(nil, int64(id), 10)}}}
			if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if err := cl.EndTransaction(ctx, how); err != nil {
			t.Fatal(err)
		}
	}
	commit := kadm.Offsets{}
	commit.AddOffset(s.cluster.input, 0, 0, -1)
	if _, err := s.cluster.adm.CommitOffsets(ctx, s.exact.group, commit); err != nil {
		t.Fatal(err)
	}
	got, err := s.judge(ctx, s.exact)
	if err != nil {
		t.Fatal(err)
	}
	aborted, err := countAborted(ctx, s.cluster, s.exact.output, got.Outputs)
	if err != nil || got.Outputs != 3 || got.Duplicated != 0 || aborted != 3 {
		t.Errorf("%d outputs, %d of them repeated, %d aborted (%v); want 3, 0 and 3", got.Outputs, got.Duplicated, aborted, err)
	}
}
