package consumer

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// What was parked is counted as parked until it is handed out, and no longer.
func TestWhatIsHandedOutIsNotParked(t *testing.T) {
	c, err := New(minimal())
	wantNil(t, err)
	recs := make([]*kgo.Record, 4000)
	for i := range recs {
		recs[i] = &kgo.Record{Topic: topic, Offset: int64(i) * 20_000, Value: []byte("value")}
	}
	p := newPartition(c.around, &Assignment{Topic: topic, TopicID: [16]byte{9}}, 0)
	r, err := p.add(&kgo.FetchPartition{Records: recs}, 0)
	wantNil(t, err)
	if len(p.parked.recs) == 0 || p.parked.bytes == 0 {
		t.Fatalf("%d handed out, %d parked", len(r.Messages), len(p.parked.recs))
	}
	for rounds := 0; r != nil && rounds < 100; rounds++ {
		r.DoneAll()
		p.mu.Lock()
		r = p.unpark(0)
		var held int64
		for _, rec := range p.parked.recs {
			held += recordSize(rec)
		}
		if p.parked.bytes != held {
			t.Errorf("%d bytes are counted as parked, %d are", p.parked.bytes, held)
		}
		p.mu.Unlock()
	}
	if len(p.parked.recs) > 0 {
		t.Errorf("%d are still parked", len(p.parked.recs))
	}
}
