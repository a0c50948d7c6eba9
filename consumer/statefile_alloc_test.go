//go:build (linux || darwin) && !portable

package consumer

import (
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/sessionfile"
)

// What is done is written down without an allocation: in order, and out of order.
func TestNothingAllocatedPerRecordForTheFile(t *testing.T) {
	path := t.TempDir()
	d, err := sessionfile.Open(path, sessionfile.DefaultLimit)
	wantNil(t, err)
	f, err := d.Create(sessionfile.Session{})
	wantNil(t, err)
	defer f.Close(true)
	wantNil(t, f.SetMembership(sessionfile.Membership{Group: groupName, Consumer: 1, ID: "m"}))
	const each = 100
	// work is what a run of inputs costs, done as its consumer does them.
	work := func(file *sessionFile) float64 {
		cfg := minimal()
		cfg.MaxRecords = 100_000
		around := newSurroundings(&cfg, slog.New(slog.DiscardHandler), new(atomic.Bool))
		around.enter = func(a *Assignment) *sessionfile.Entry {
			return file.enter(&Membership{Group: groupName, MemberID: "m"}, a)
		}
		p := newPartition(around, &Assignment{Topic: topic}, -1)
		if (p.entry != nil) != (file.file != nil) {
			t.Fatal("it is not written down as it should be")
		}
		recs := make([]*kgo.Record, each)
		next := int64(0)
		return testing.AllocsPerRun(50, func() {
			for i := range recs {
				recs[i] = &kgo.Record{Topic: topic, Offset: next}
				next++
			}
			r, err := p.add(&kgo.FetchPartition{Records: recs}, 0)
			wantNil(t, err)
			for i := range r.Messages {
				if m := &r.Messages[i]; m.Start() && i%2 == 1 {
					m.Done(nil)
				}
			}
			for i := range r.Messages {
				if i%2 == 0 {
					r.Messages[i].Done(nil)
				}
			}
		})
	}
	without := work(&sessionFile{})
	with := work(&sessionFile{file: f, number: 1})
	if with > without+1 { // of 100 inputs
		t.Errorf("%v allocations for %d inputs with a session file, %v without", with, each, without)
	}
}
