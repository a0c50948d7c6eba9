package sidecar

import (
	"errors"
	"strings"
	"testing"

	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// What a peer sends without spending credit is kept for its stream's life, so its size is bounded (S9): names, assigned topics, headers of emits.
func TestWhatCostsNoCreditIsBounded(t *testing.T) {
	srv := idle(t)
	s := srv.testSession(t)
	d := &delivery{server: srv, session: s}
	huge := strings.Repeat("n", 1<<20)
	if err := d.name(7, huge); err != nil {
		t.Fatal(err)
	}
	if n := &d.names[7]; len(n.name) > 250 || n.refuse == nil || len(n.refuse.GetMessage()) > 1000 {
		t.Errorf("%d characters are kept of a name that is no topic's, refused with %.100v", len(n.name), n.refuse)
	}
	if err := d.name(7, huge); err != nil {
		t.Errorf("the same name again: %v", err)
	}
	if err := s.assign(s.stream, &sidecarpb.Assign{Partitions: []*sidecarpb.AssignedPartition{{Epoch: 1, Topic: huge}}}); !errors.Is(err, errViolation) {
		t.Errorf("assigned topic: %v", err)
	}
	headers := make([]*sidecarpb.Header, 1000)
	for i := range headers {
		headers[i] = new(sidecarpb.Header)
	}
	e, refused := srv.newEmit(s.app, &sidecarpb.Record{Topic: "t", Headers: headers})
	if refused != nil || e.rec.size < 1000*headerCost {
		t.Errorf("an emit with 1000 headers counts %d bytes (%v)", e.rec.size, refused)
	}
}
