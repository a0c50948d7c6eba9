package consumertest_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/consumer/consumertest"
)

func records(n int) (all []*kgo.Record) {
	for i := range n {
		all = append(all, &kgo.Record{Topic: "t", Partition: int32(i % 2), Offset: int64(i / 2)})
	}
	return all
}

// A loop as README has it: what passes is tried again, what does not halts its partition, and only
// that.
func TestLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := consumertest.New(records(10)...)
		down, poison := errors.New("the database is down"), errors.New("no such customer")
		tries := map[string]int{}
		save := func(r *kgo.Record) error {
			key := fmt.Sprint(r.Partition, r.Offset)
			tries[key]++
			switch {
			case key == "0 1" && tries[key] < 4:
				return down
			case key == "1 2":
				return consumer.Permanent(poison)
			}
			return nil
		}
		halts := loop(in.Messages(t.Context()), save)
		if len(halts) != 1 || !errors.Is(halts[0], poison) {
			t.Errorf("halts: %v", halts)
		}
		if tries["0 1"] != 4 || tries["1 2"] != 1 || tries["1 3"] != 0 {
			t.Errorf("tries: %v", tries)
		}
		if a, b := in.Committable("t", 0), in.Committable("t", 1); a != 5 || b != 2 {
			t.Errorf("committable %d and %d, want 5 and 2", a, b)
		}
		if got := in.Outcomes(); len(got) != 8 || got[2].Record.Offset != 1 || !errors.Is(got[5].Err, poison) || len(in.Open()) != 0 {
			t.Errorf("outcomes: %v, open %v", got, in.Open())
		}
		if in.Committable("other", 0) != -1 {
			t.Error("a partition that is not there")
		}
	})
}

func loop(messages iter.Seq2[*consumer.Message, error], save func(*kgo.Record) error) (halts []error) {
	for m, err := range messages {
		if err != nil {
			halts = append(halts, err)
			continue
		}
		m.Done(m.Retry(func(context.Context) error { return save(m.Record) }))
	}
	return halts
}

func wantNoHalt(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("a loop that fails nothing was told: %v", err)
	}
}

// Outcomes may come from other goroutines, later, in any order; the loop ends when all have come.
func TestLater(t *testing.T) {
	in := consumertest.New(records(6)...)
	var wg sync.WaitGroup
	for m, err := range in.Messages(t.Context()) {
		wantNoHalt(t, err)
		wg.Go(func() { m.Done(nil); m.Done(errors.New("the first call wins")) })
	}
	if len(in.Open()) != 0 || len(in.Outcomes()) != 6 || in.Committable("t", 1) != 3 {
		t.Errorf("open %v, outcomes %v", in.Open(), in.Outcomes())
	}
	wg.Wait()
}

// What a loop forgets is named, and the end of its context ends it.
func TestForgotten(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	in := consumertest.New(records(4)...)
	n := 0
	for m, err := range in.Messages(ctx) {
		wantNoHalt(t, err)
		if n++; n == 2 {
			continue
		}
		m.Done(nil)
		if n == 4 {
			cancel()
		}
	}
	if open := in.Open(); len(open) != 1 || open[0].Partition != 1 || open[0].Offset != 0 || in.Committable("t", 1) != 0 {
		t.Errorf("open %v, committable %d", open, in.Committable("t", 1))
	}
}
