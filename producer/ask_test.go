package producer_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/producer/producertest"
)

// New topics are asked about at the same time, and no longer than the caller waits or the producer
// is open: with brokers that are not there a call for ten of them takes as long as one for one.
func TestNewTopicsAreAskedAboutTogether(t *testing.T) {
	var units []producer.Unit
	for i := range 10 {
		units = append(units, producer.Unit{Outputs: []producer.Record{{Topic: fmt.Sprintf("topic-%d", i), Value: []byte("v")}}})
	}
	for name, tc := range map[string]struct {
		patience, closeAfter, want time.Duration
	}{
		"to the end": {time.Hour, time.Hour, 2 * time.Second},
		"cancelled":  {300 * time.Millisecond, time.Hour, 300 * time.Millisecond},
		"closed":     {time.Hour, 500 * time.Millisecond, 500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := producer.Direct(producer.DirectConfig{Brokers: []string{"nobody:9092"}, Logger: slog.New(slog.DiscardHandler), CloseTimeout: time.Millisecond,
					Options: []kgo.Opt{kgo.Dialer(func(ctx context.Context, _, _ string) (net.Conn, error) {
						<-ctx.Done()
						return nil, ctx.Err()
					})}})
				closed := make(chan struct{})
				timer := time.AfterFunc(tc.closeAfter, func() { defer close(closed); _ = p.Close() })
				ctx, cancel := context.WithTimeout(t.Context(), tc.patience)
				defer cancel()
				begun := time.Now()
				if err := p.Deliver(ctx, units, producertest.NewRecorder(len(units))); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(begun); took != tc.want {
					t.Errorf("it took %v, want %v", took, tc.want)
				}
				if timer.Stop() {
					_ = p.Close()
				} else {
					<-closed
				}
			})
		})
	}
}
