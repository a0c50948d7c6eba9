package sidecar_test

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

// Two clients of one process that chose one session id: the second neither takes the session from
// the first, whatever that has said, nor goes on with it and hears that units of its own were
// acknowledged which are the first one's. The first goes on, also after a Welcome that it did not
// hear.
func TestClientsOfOneNameAreTwo(t *testing.T) {
	kafka := cluster(t)
	sc := sidecartest.Start(t, kafka.ListenAddrs(), nil)
	join := func(who, previous string, unreported ...*sidecarpb.Range) (*client, error) {
		return begin(t, dial(t, sc.Target), &sidecarpb.Hello{SessionId: "pod", ClientId: who, PreviousSidecarId: previous, Unreported: unreported})
	}
	refused := func(when, previous string, unreported ...*sidecarpb.Range) {
		t.Helper()
		if _, err := join("second", previous, unreported...); status.Code(err) != codes.Aborted || !strings.Contains(err.Error(), "SESSION_FENCED") {
			t.Errorf("the second client, %s: %v, want SESSION_FENCED", when, err)
		}
	}
	first, err := join("first", "")
	if err != nil {
		t.Fatal(err)
	}
	id := first.welcome.GetSidecarId()
	refused("while the first has said nothing", "")
	refused("from a former sidecar", "another")
	if first, err = join("first", ""); err != nil { // it did not hear Welcome
		t.Fatal(err)
	}
	goesOn := make(chan struct{})
	kafka.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		kafka.KeepControl()
		kafka.SleepControl(func() { <-goesOn })
		return nil, nil, false
	})
	first.units(plain("out", 3)...)
	first.assign(&sidecarpb.AssignedPartition{Epoch: 1, Topic: "in"})
	first.release(1, 1)
	if err := first.until(func() bool { return first.released[1] }); err != nil {
		t.Fatal(err)
	}
	refused("with as many units outstanding", id, &sidecarpb.Range{First: 1, Count: 3})
	next := first.next
	if sidecar.ProvesDeaths {
		first.cancel()
		refused("after the first lost its stream", "")
	}
	if first, err = join("first", id, &sidecarpb.Range{First: 1, Count: 3}); err != nil || !first.welcome.GetResumed() {
		t.Fatalf("the first: %v, %v", first, err)
	}
	first.next = next
	first.sent.Store(next)
	close(goesOn)
	first.reported(3)
}
