package txn

import (
	"context"
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// All is written when the last record has its fate and no unit is taken in any more, failures or
// not.
func TestPromises(t *testing.T) {
	var p promises
	p.begin()
	ended, end := context.WithCancelCause(t.Context())
	over := errors.New("over")
	end(over)
	p.left.Add(2)
	p.made(&kgo.Record{}, nil)
	p.made(&kgo.Record{}, errors.New("refused"))
	select {
	case <-p.written:
		t.Error("all is written while units are taken in")
	default:
	}
	if !p.failed() || p.acked.Load() != 1 || len(p.failures) != 1 {
		t.Errorf("of two records %d were taken, and %d refused", p.acked.Load(), len(p.failures))
	}
	p.left.Add(1)
	if err := p.await(ended); !errors.Is(err, over) {
		t.Errorf("while one has no fate: %v", err)
	}
	p.made(&kgo.Record{}, nil)
	for range 2 {
		if err := p.await(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
