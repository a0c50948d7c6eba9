package e2e

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/childproc"
	"github.com/ackmark/ackmark/internal/proof/kafkatest"
)

// lastEpoch of a producer id: behind it come a new one and epoch 0.
const lastEpoch = math.MaxInt16 - 1

// lasting is a broker that aborts a transaction as soon as it has timed out.
func lasting(t *testing.T) *kafkatest.Cluster {
	t.Helper()
	return kafkatest.Shared(t, kafkatest.Config{Properties: map[string]string{abortEvery: "200"}})
}

// wearOut takes transactional ids, each as often as it takes until their producers have so many
// epochs left, and returns the producers.
func (s *scenario) wearOut(left int16, ends ...string) map[string]int64 {
	s.Helper()
	begun := time.Now()
	pids := map[string]int64{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, end := range ends {
		id, cl := s.group+end, s.plain()
		all.Go(func() {
			pid, epoch := int64(-1), int16(-1)
			for epoch < lastEpoch-left {
				var err error
				if pid, epoch, err = takeID(s, cl, id, pid, epoch); err != nil {
					s.Errorf("%s: %v", id, err)
					return
				}
			}
			mu.Lock()
			defer mu.Unlock()
			pids[id] = pid
		})
	}
	all.Wait()
	s.Logf("%d ids are worn out after %v", len(ends), time.Since(begun).Round(time.Second))
	if s.Failed() {
		s.FailNow()
	}
	return pids
}

// takeID takes an id under the epoch that is known of it; −1: none.
func takeID(s *scenario, cl *kgo.Client, id string, pid int64, epoch int16) (int64, int16, error) {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID, req.TransactionTimeoutMillis, req.ProducerID, req.ProducerEpoch = &id, 5000, pid, epoch
	resp, err := req.RequestWith(s.Context(), cl)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		return pid, epoch, err
	}
	return resp.ProducerID, resp.ProducerEpoch, nil
}

// A sidecar's ids come to the last epochs of their producers within its work, and go on as other
// producers: nothing is lost, nothing repeated, and nothing had to be found out.
func TestExactlyOnceLastEpoch(t *testing.T) {
	t.Parallel()
	s := newScenario(t, lasting(t))
	ids := []string{ofOutputs[0], ofOutputs[1], ofOffsets[0]}
	before := s.wearOut(6, ids...)
	sidecar, app := s.transactional(), s.app("app", roleApp, map[string]string{envMode: "exactly-once", envTimes: "1ms"})
	f := s.feed(300)
	s.becomesAnother(before, func() { f.more(50) }, ofOutputs...)
	total := f.finish()
	s.caughtUp()
	s.becomesAnother(before, func() { s.produceInputs(silent, partitions); s.caughtUp() }, ofOffsets[0])
	f = s.feed(300)
	f.more(300)
	total += f.finish()
	s.caughtUp()
	if log := readLog(t, sidecar.Log); strings.Contains(log, "anew") || strings.Contains(log, "aborted") {
		t.Errorf("an id was lost for a while:\n%s", tail(sidecar, 20))
	}
	s.terminate(app, sidecar)
	s.seenOnce(total)
}

// becomesAnother waits until the ids have another producer than before.
func (s *scenario) becomesAnother(before map[string]int64, meanwhile func(), ends ...string) {
	s.Helper()
	s.await("another producer", func() error {
		meanwhile()
		for _, d := range s.known(ends...) {
			if d.ProducerID == before[d.TxnID] {
				return fmt.Errorf("%+v", d)
			}
		}
		return nil
	})
}

// The end of a transaction in the last epoch of a producer is not heard of, or comes too late, or
// never: its process, or the next one, finds out what became of it, and goes on.
func TestExactlyOnceLastEpochInDoubt(t *testing.T) {
	t.Parallel()
	lose, hold := (*gate).lose, (*gate).hold
	for _, c := range []struct {
		what string
		stop func(*gate, kmsg.Key) *held
		then func(d *doubtful)
		id   string
	}{
		{"the answer is lost", lose, (*doubtful).arrives, ofOutputs[0]},
		{"the answer is lost, without outputs", lose, (*doubtful).arrives, ofOffsets[0]},
		{"the transaction times out", hold, (*doubtful).timesOut, ofOutputs[0]},
		{"the transaction times out, without outputs", hold, (*doubtful).timesOut, ofOffsets[0]},
		{"the process is killed", hold, (*doubtful).dies, ofOutputs[0]},
		{"the process is killed, and what it sent arrives", hold, func(d *doubtful) { d.dies(); d.held.letGo() }, ofOutputs[0]},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			d := &doubtful{scenario: newScenario(t, lasting(t)), id: c.id}
			before := d.wearOut(1, d.id) // to be taken is its last step
			g := newGate(t)
			d.held = c.stop(g, kmsg.EndTxn)
			d.start(g)
			var f *feeder
			work := func() { d.produceInputs(silent, partitions) }
			if c.id == ofOutputs[0] {
				f = d.feed(300)
				work = func() { f.more(50) }
			}
			work()
			d.held.await(t, "nothing is committed", d.held.caught)
			if at := d.state(); at.ProducerEpoch != lastEpoch || at.State != "Ongoing" {
				t.Fatalf("%+v", at)
			}
			c.then(d)
			d.becomesAnother(before, work, d.id)
			if f == nil {
				f = d.feed(300)
			}
			f.more(300)
			n := f.finish()
			d.caughtUp()
			d.terminate(d.app)
			d.seenOnce(n)
		})
	}
}

// doubtful is a process of which the end of a transaction is stopped on its way.
type doubtful struct {
	*scenario
	id   string // its end
	app  *childproc.Process
	held *held
}

// start starts it; its requests go through a gate, if there is one.
func (d *doubtful) start(g *gate) {
	d.Helper()
	env := map[string]string{"SIDECAR": "direct", envID: d.group, envInstance: "i", envTimes: "1ms", envTxnTimeout: "5s"}
	if g != nil {
		env[envProxy] = g.addr()
	}
	d.app = d.scenario.app("app", roleApp, env)
}

// state is how the coordinator has the id.
func (d *doubtful) state() kadm.DescribedTransaction {
	d.Helper()
	there := d.known(d.id)
	if len(there) != 1 {
		d.Fatal("the id is not known")
	}
	return there[0]
}

func (d *doubtful) arrives() { d.held.letGo() }

func (d *doubtful) dies() {
	d.Helper()
	d.kill(d.app)
	d.start(nil)
}

// timesOut lets the end go on when the coordinator has aborted the transaction.
func (d *doubtful) timesOut() {
	d.Helper()
	d.await("the transaction to time out", func() error {
		if at := d.state(); at.State != "CompleteAbort" {
			return fmt.Errorf("%+v", at)
		}
		return nil
	})
	d.held.letGo()
}
