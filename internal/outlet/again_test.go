package outlet_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/devbroker"
	"github.com/ackmark/ackmark/internal/outlet"
)

// againRig sends the same few records again and again, as a pool does, under another value each
// time, and sees how often each is written to a broker.
type againRig struct {
	*rig
	recs  [8]outlet.Rec
	round int
	told  atomic.Int32 // batches

	mu      sync.Mutex
	written [][]byte // to any
}

func newAgainRig(t *testing.T, opts ...kgo.Opt) *againRig {
	a := new(againRig)
	a.rig = newRigOf(t, devbroker.Rules{Compacted: true}, nil, func(cfg *outlet.Config) {
		dial := func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			return seenConn{conn, a}, err
		}
		cfg.Options = append(cfg.Options, kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.Dialer(dial))
		cfg.Usual = []kgo.Opt{kgo.ProducerLinger(20 * time.Millisecond), kgo.ProducerBatchMaxBytes(512)} // several batches
		cfg.Usual = append(cfg.Usual, opts...)
		cfg.Retried, cfg.Again = func(string, error) { a.told.Add(1) }, true
	})
	a.out.Topic("t").Prepare(t.Context())
	return a
}

type seenConn struct {
	net.Conn
	rig *againRig
}

// Write keeps what is written.
func (c seenConn) Write(b []byte) (int, error) {
	c.rig.mu.Lock()
	c.rig.written = append(c.rig.written, bytes.Clone(b))
	c.rig.mu.Unlock()
	return c.Conn.Write(b)
}

func (a *againRig) fault(err *kerr.Error) {
	a.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: err, Count: 1})
}

// send sends all of them to two partitions, that one without the key which the topic wants, and
// returns how many were written more than once. Those, and no other that is acknowledged, must say
// so; beside one that is refused only most of them do, as others are just being written.
func (a *againRig) send(bad int) (more int) {
	a.Helper()
	a.round++
	fates := make([]error, len(a.recs))
	a.open.Add(len(a.recs))
	for i := range a.recs {
		x := &a.recs[i]
		x.Record = kgo.Record{Topic: "t", Partition: int32(i % 2), Key: []byte("k"), Value: fmt.Appendf(nil, "round %d number %d %0150d", a.round, i, 0)}
		x.To, x.Explicit = a.out.Topic("t"), true
		if i == bad {
			x.Key = nil
		}
		x.Promise = func(_ *kgo.Record, err error) {
			fates[i] = err
			a.open.Done()
		}
		a.out.Produce(x)
	}
	a.open.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	told := 0
	for i := range a.recs {
		n := 0
		for _, batch := range a.written {
			n += bytes.Count(batch, fmt.Appendf(nil, "round %d number %d ", a.round, i))
		}
		if n > 1 {
			more++
		}
		again := a.recs[i].Again()
		if again {
			told++
		}
		if fates[i] == nil && (again && n < 2 || !again && n > 1 && bad < 0) || fates[i] != nil && i != bad {
			a.Errorf("round %d: number %d was written %d times, says that it was sent again: %t (%v)", a.round, i, n, again, fates[i])
		}
	}
	if more > 0 && told == 0 {
		a.Errorf("round %d: %d were written more than once, and none says so", a.round, more)
	}
	return more
}

// Each record tells whether Kafka took it at a second try: after a refusal that passes, after a
// connection that broke, under a new epoch, and beside a record that is to blame; not those that
// only waited behind one. A pooled record tells only what happened to it now.
func TestWhatWasSentAgainIsKnown(t *testing.T) {
	a := newAgainRig(t)
	well := func() {
		t.Helper()
		if n := a.send(-1); n != 0 {
			t.Fatalf("nothing happened, and %d records were written more than once", n)
		}
	}
	well()
	for _, err := range []*kerr.Error{kerr.NotEnoughReplicas, kerr.OutOfOrderSequenceNumber, kerr.UnknownProducerID} {
		told := a.told.Load()
		a.fault(err)
		if n := a.send(-1); n == 0 || a.told.Load() == told {
			t.Errorf("%v: %d records were written more than once, %d batches told", err, n, a.told.Load()-told)
		}
		well()
	}
	told := a.told.Load()
	a.kafka.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) { return nil, errors.New("the connection breaks"), true })
	if n := a.send(-1); n == 0 || a.told.Load() == told {
		t.Errorf("a connection that breaks: %d records were written more than once, %d batches told", n, a.told.Load()-told)
	}
	well()
	for bad := range a.recs {
		if n := a.send(bad); n == 0 {
			t.Errorf("none was written more than once beside number %d", bad)
		}
		well()
	}
}

// A client with transactions that is closed tells of no batch on its way that it sends it again; of
// one whose connection breaks it does.
func TestAClosedClientSendsNothingAgain(t *testing.T) {
	for _, closes := range []bool{true, false} {
		kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"))
		if err != nil {
			t.Fatal(err)
		}
		came, stay := make(chan struct{}, 9), make(chan struct{})
		kafka.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
			came <- struct{}{}
			kafka.SleepControl(func() { <-stay })
			return nil, errors.New("the connection breaks"), !closes
		})
		told := make(chan string, 9)
		own := []kgo.Opt{kgo.SeedBrokers(kafka.ListenAddrs()...)}
		var closing atomic.Bool
		heard, err := outlet.Listener{Retried: func(topic string, _ error) { told <- topic }, Closing: closing.Load}.Options(own)
		if err != nil {
			t.Fatal(err)
		}
		cl, err := kgo.NewClient(append(own, heard...)...)
		if err != nil {
			t.Fatal(err)
		}
		cl.Produce(t.Context(), &kgo.Record{Topic: "t", Value: []byte("v")}, nil)
		<-came
		if closes {
			closing.Store(true)
			cl.Close()
		}
		close(stay)
		if !closes {
			if topic := <-told; topic != "t" {
				t.Errorf("told of %q", topic)
			}
			cl.Close()
		}
		kafka.Close()
		if closes && len(told) > 0 {
			t.Errorf("a client that is closed told of %q", <-told)
		}
	}
}

// What Kafka has already, and says so, was sent again.
func TestADuplicateWasSentAgain(t *testing.T) {
	a := newAgainRig(t, kgo.MaxProduceRequestsInflightPerBroker(1))
	a.fault(kerr.NotEnoughReplicas)
	a.fault(kerr.DuplicateSequenceNumber)
	if n := a.send(-1); n == 0 {
		t.Error("no record was written more than once")
	}
}

// What waits behind a refused batch, and was not written yet, is sent once.
func TestWhatOnlyWaitedIsNotSentAgain(t *testing.T) {
	a := newAgainRig(t, kgo.MaxProduceRequestsInflightPerBroker(1))
	a.send(-1)
	for range 3 {
		if a.send(0) == 0 {
			t.Error("nothing was written more than once: the rest of the refused batch must be")
		}
	}
}
