package producer_test

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/producer/producertest"
	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

// While an app sends, its list shrinks and grows again, forty times: each shrinking ends its
// session, and every unit is in Kafka once, in its order.
func TestReloadsUnderTraffic(t *testing.T) {
	b := newBroker(t, "t")
	config := func(topics ...string) sidecar.Config {
		return sidecar.Config{Brokers: b.ListenAddrs(), Apps: []sidecar.App{{Name: "app", Topics: topics}}}
	}
	sc := sidecartest.Start(t, b.ListenAddrs(), func(c *sidecar.Config) { c.Apps = config("t", "u").Apps })
	p := producer.DialConfig{Target: sc.Target, App: "app", Logger: slog.New(slog.DiscardHandler)}.New()
	defer p.Close()
	const calls, units = 200, 50
	var all []*producertest.Recorder
	for i := range calls {
		list := make([]producer.Unit, units)
		for j := range list {
			list[j].Outputs = []producer.Record{{Topic: "t", Key: []byte("k"), Value: fmt.Append(nil, i*units+j)}}
		}
		r := producertest.NewRecorder(units)
		if err := p.Deliver(t.Context(), list, r); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
		if i%5 == 4 {
			cfg := config("t")
			if i%10 == 9 {
				cfg = config("t", "u")
			}
			if _, err := sc.Reload(func() (sidecar.Config, error) { return cfg, nil }); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, r := range all {
		if err := r.Wait(t.Context()); err != nil {
			t.Fatalf("call %d: %v", i, err)
		}
		for j, fate := range r.Fates() {
			if fate.Err != nil {
				t.Errorf("call %d, unit %d: %v", i, j, fate.Err)
			}
		}
	}
	got := b.Records(t, "t")
	if len(got) != calls*units {
		t.Errorf("%d records of %d units", len(got), calls*units)
	}
	for i, r := range got {
		if string(r.Value) != fmt.Sprint(i) {
			t.Fatalf("record %d is unit %s", i, r.Value)
		}
	}
}
