package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/childproc"
)

// side is where the members of a service that rolls over have their producer.
type side int

const (
	oneSidecar  side = iota // one that serves both modes
	ownSidecars             // each has its own, which goes over with it
	ownProducer             // in the process
)

// rolling is a service that rolls over: three members of one group.
type rolling struct {
	*scenario
	side
	protocol consumer.Protocol
	of       [3]member
	starts   int
}

// member is a process, and the sidecar that goes with it.
type member struct{ app, sidecar *childproc.Process }

// A service goes from at-least-once to exactly-once and back under load, member by member in one
// group. Nothing dies: nothing is lost, and nothing repeated, as Kafka's own reader of committed
// records sees it. Package lab has the simulation of it. `make exactly-once` plays all of it, `go
// test` a part.
func TestExactlyOnceRollingOver(t *testing.T) {
	t.Parallel()
	asked := os.Getenv(failuresEnv)
	if asked != "" && asked != "all" {
		t.Skipf("%s=%s asks for rows", failuresEnv, asked)
	}
	for _, c := range []struct {
		what     string
		side     side
		protocol consumer.Protocol
		cheap    bool
	}{
		{"one sidecar", oneSidecar, consumer.ClassicProtocol, false},
		{"one sidecar, consumer protocol", oneSidecar, consumer.ConsumerProtocol, true},
		{"sidecars that go over", ownSidecars, consumer.ClassicProtocol, true},
		{"sidecars that go over, consumer protocol", ownSidecars, consumer.ConsumerProtocol, false},
		{"producers of their own", ownProducer, consumer.ClassicProtocol, false},
		{"producers of their own, consumer protocol", ownProducer, consumer.ConsumerProtocol, false},
	} {
		if asked == "" && !c.cheap {
			continue
		}
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			if c.protocol == consumer.ConsumerProtocol {
				needs848(t, brokers(t))
			}
			r := &rolling{scenario: newScenario(t, brokers(t)), side: c.side, protocol: c.protocol}
			r.rollOver()
		})
	}
}

func (r *rolling) rollOver() {
	r.Helper()
	reads := r.console()
	var sidecar *childproc.Process
	if r.side == oneSidecar {
		sidecar = r.transactional()
	}
	for i := range r.of {
		r.start(i, "")
	}
	r.members(len(r.of))
	f := r.feed(failureRate)
	r.outputs(failureRate)
	for _, mode := range []string{"exactly-once", ""} {
		for i := range r.of {
			r.end(i)
			r.start(i, mode)
			r.members(len(r.of))
			f.more(failureRate)
		}
	}
	n := f.finish()
	r.caughtUp()
	for i := range r.of {
		r.end(i)
	}
	if sidecar != nil {
		r.terminate(sidecar)
	}
	r.seenOnce(n)
	if err := r.transactions().Whole(); err != nil { // what was at-least-once is of none
		r.Error(err)
	}
	reads.sawOnce()
}

// start starts a member in a mode, with its sidecar, if it has one.
func (r *rolling) start(i int, mode string) {
	r.Helper()
	r.starts++
	id := fmt.Sprintf("%s-%d", r.group, i)
	env := map[string]string{envTimes: "1ms", envSession: longSession.String(), envProtocol: r.protocol.String(), envMode: mode}
	m := &r.of[i]
	switch r.side {
	case ownSidecars:
		var more []string
		if mode != "" {
			more = []string{"--transactional-id", id}
		}
		socket := filepath.Join(r.dir, fmt.Sprintf("%d.sock", i))
		m.sidecar = r.sidecarAt(socket, more...)
		env[envSidecar] = "unix://" + socket
	case ownProducer:
		env[envSidecar] = "direct"
		if mode != "" {
			env[envID] = id
		}
	case oneSidecar:
	}
	m.app = r.app(fmt.Sprintf("app-%d.%d", i, r.starts), roleApp, env)
}

// end ends a member as Kubernetes does: the app, and then its sidecar.
func (r *rolling) end(i int) {
	r.Helper()
	r.terminate(r.of[i].app)
	if sidecar := r.of[i].sidecar; sidecar != nil {
		r.terminate(sidecar)
		r.of[i].sidecar = nil
	}
}
