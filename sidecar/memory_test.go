package sidecar_test

import (
	"bytes"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

const mib = 1 << 20

// heapWatch finds the most that the heap grows by, garbage apart.
type heapWatch struct {
	peers      []*rawPeer
	base, most int64
	stop, done chan struct{}
}

// liveHeap collects twice: what was allocated while the first collection marked counts as alive in
// it, and on a loaded machine that is a lot.
func liveHeap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// watchHeap looks now and then. While it looks the peers write nothing, so that what it finds is
// held, and is not on its way to be collected.
func watchHeap(peers ...*rawPeer) *heapWatch {
	w := &heapWatch{peers: peers, base: liveHeap(), stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			w.look()
			select {
			case <-tick.C:
			case <-w.stop:
				return
			}
		}
	}()
	return w
}

func (w *heapWatch) look() {
	for _, p := range w.peers {
		p.writing.Lock()
		defer p.writing.Unlock()
	}
	w.most = max(w.most, liveHeap()-w.base)
}

func (w *heapWatch) end() int64 {
	close(w.stop)
	<-w.done
	w.look()
	return w.most
}

// field is an embedded field, and repeated so much of one as fits into n bytes.
func field(num protowire.Number, body []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), body)
}

func fill(n int, one []byte) []byte { return bytes.Repeat(one, n/len(one)) }

func marshalled(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Every hostile shape, against a sidecar with MaxBytes of 1 MiB and 4 sessions: what the heap grows
// by while it lasts. The bounds are what S9 states: what is arriving (MaxMessageBytes for each
// session and each reader), MaxBytes a few times, and 2 KiB for each record. Before, some took
// hundreds of MiB.
func TestMemoryBoundUnderHostilePeers(t *testing.T) {
	const (
		whole    = 4*mib - 4096
		arriving = 4*2*4*mib + 8*mib // of each session or reader a message that arrives, and its copy in one piece
	)
	var (
		huge    = make([]byte, whole)
		long    = bytes.Repeat([]byte("n"), whole)
		tail    = field(99, huge[:whole-16])
		unknown = field(99, huge[:mib])
		units   = field(3, fill(whole-2*mib, []byte{4<<3 | 2, 0}))
		hello   = func(id string) []byte {
			return marshalled(t, helloMsg(&sidecarpb.Hello{Version: 1, App: "app", SessionId: id, Features: []string{"resume"}}))
		}
		session = func(p *rawPeer, id string) uint32 {
			call := p.call(sidecarpb.Sidecar_DeliveryStream_FullMethodName)
			if err := p.message(call, 0, hello(id)); err != nil {
				t.Error("Hello:", err)
			}
			return call
		}
		// everySession plays it in as many sessions as there may be.
		everySession = func(p *rawPeer, play func(id uint32)) {
			var wg sync.WaitGroup
			for i := range 4 {
				id := session(p, fmt.Sprint("s", i))
				wg.Go(func() { play(id) })
			}
			wg.Wait()
		}
		unfinished = func(method string) func(p *rawPeer) {
			return func(p *rawPeer) {
				var wg sync.WaitGroup
				for range 100 {
					wg.Go(func() { _ = p.message(p.call(method), 1, tail) })
				}
				wg.Wait()
			}
		}
		alternating = func() string {
			var runs []donemeta.Run
			for i := int64(1); i < donemeta.MaxSpan; i += 2 {
				runs = append(runs, donemeta.Run{First: i, Last: i})
			}
			text, _ := donemeta.Append(nil, donemeta.Binding{TopicID: [16]byte{1}, Base: 0}, runs)
			return string(text)
		}()
	)
	var names [][]byte
	for from := 0; from < 1<<16; from += 4096 {
		u := &sidecarpb.Units{}
		for i := range 4096 {
			u.Topics = append(u.Topics, &sidecarpb.TopicName{Index: uint32(from + i), Name: fmt.Sprintf("?%0200d", from+i)})
		}
		names = append(names, marshalled(t, &sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_Units{Units: u}}))
	}
	assign := &sidecarpb.Assign{Group: "g", MemberId: "m"}
	for i := range 300 {
		assign.Partitions = append(assign.Partitions, &sidecarpb.AssignedPartition{Epoch: uint64(i + 1), Topic: "in", TopicId: append([]byte{1}, make([]byte, 15)...), Partition: int32(i), DoneSet: alternating})
	}
	doneSets := marshalled(t, &sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_Assign{Assign: assign}})
	for _, x := range []struct {
		name string
		most int64
		play func(p *rawPeer)
	}{
		{"units beside an unknown field", arriving, func(p *rawPeer) {
			everySession(p, func(id uint32) { _ = p.message(id, 0, units, unknown); p.over(id) })
		}},
		{"units in pieces", arriving, func(p *rawPeer) {
			everySession(p, func(id uint32) { _ = p.message(id, 0, units, field(3, nil)); p.over(id) })
		}},
		{"units that stop in the middle", arriving, func(p *rawPeer) {
			everySession(p, func(id uint32) { _ = p.message(id, 1, field(3, huge[:whole-16])) })
		}},
		{"units before Hello", arriving, func(p *rawPeer) {
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() {
					id := p.call(sidecarpb.Sidecar_DeliveryStream_FullMethodName)
					_ = p.message(id, 0, units, unknown)
					p.over(id)
				})
			}
			wg.Wait()
		}},
		{"unfinished Hellos", arriving, unfinished(sidecarpb.Sidecar_DeliveryStream_FullMethodName)},
		{"unfinished emits", arriving, unfinished(sidecarpb.Sidecar_Emit_FullMethodName)},
		{"unfinished Reports", arriving, unfinished(sidecarpb.Sidecar_Reports_FullMethodName)},
		{"unfinished Status", arriving, unfinished(sidecarpb.Sidecar_Status_FullMethodName)},
		{"unfinished health checks", arriving, unfinished("/grpc.health.v1.Health/Check")},
		{"unfinished reflection", arriving, unfinished("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")},
		{"unknown method", 8 * mib, unfinished("/no.such.Service/Method")},
		{"Releases whose answers nobody reads", 8 * mib, func(p *rawPeer) {
			one := marshalled(t, &sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_Release{Release: &sidecarpb.Release{RequestId: 1 << 60}}})
			everySession(p, func(id uint32) {
				for range 10_000 {
					if p.message(id, 0, one) != nil {
						break
					}
				}
			})
		}},
		{"member ids of megabytes", 20 * mib, func(p *rawPeer) {
			everySession(p, func(id uint32) { _ = p.message(id, 0, field(2, field(2, long[:mib]))); p.over(id) })
		}},
		{"app names, tokens and versions of megabytes", arriving, func(p *rawPeer) {
			for _, num := range []protowire.Number{3, 4, 6, 7, 9} {
				for range 8 {
					id := p.call(sidecarpb.Sidecar_DeliveryStream_FullMethodName)
					_ = p.message(id, 0, field(1, field(num, long[:mib])))
					p.over(id)
				}
			}
			for _, num := range []protowire.Number{3, 4, 99} {
				_ = p.message(p.call(sidecarpb.Sidecar_Emit_FullMethodName), 0, field(num, long[:mib]))
				_ = p.message(p.call(sidecarpb.Sidecar_Reports_FullMethodName), 0, field(1, []byte("app")), field(num, long[:mib]))
				_ = p.message(p.call("/grpc.health.v1.Health/Watch"), 0, field(1, long[:mib]))
			}
		}},
		{"partitions with the largest done-sets", 24 * mib, func(p *rawPeer) {
			everySession(p, func(id uint32) {
				_ = p.message(id, 0, doneSets)
			})
		}},
		{"partitions of two bytes, runs of two bytes", arriving, func(p *rawPeer) {
			everySession(p, func(id uint32) {
				_ = p.message(id, 0, field(2, fill(2*mib-64, field(5, fill(8000, []byte{9<<3 | 2, 0})))))
				p.over(id)
			})
		}},
		{"every tracker entry", arriving, func(p *rawPeer) {
			everySession(p, func(id uint32) {
				a := &sidecarpb.Assign{Group: "g", MemberId: "m"}
				for i := range 64 {
					a.Partitions = append(a.Partitions, &sidecarpb.AssignedPartition{Epoch: uint64(i + 1), Topic: "in", Partition: int32(i), Done: []*sidecarpb.DoneRun{{Index: 1, Offset: 1, Count: 1 << 62}}})
				}
				_ = p.message(id, 0, marshalled(t, &sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_Assign{Assign: a}}))
			})
		}},
		{"all topic indices with names that are refused", arriving, func(p *rawPeer) {
			everySession(p, func(id uint32) {
				for _, m := range names {
					_ = p.message(id, 0, m)
				}
			})
		}},
		{"units without outputs whose reports nobody reads", 16 * mib, func(p *rawPeer) {
			everySession(p, func(id uint32) {
				for seq := range 20_000 {
					u := &sidecarpb.Units{FirstSequence: uint64(seq + 1), Units: []*sidecarpb.Unit{{}}}
					if p.message(id, 0, marshalled(t, &sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_Units{Units: u}})) != nil {
						break
					}
				}
			})
		}},
		{"headers of emits", arriving, func(p *rawPeer) {
			for range 60 {
				_ = p.message(p.call(sidecarpb.Sidecar_Emit_FullMethodName), 0, field(1, append(field(1, []byte("out")), fill(wire.MaxEmitHeaders*2, []byte{5<<3 | 2, 0})...)))
			}
		}},
	} {
		t.Run(x.name, func(t *testing.T) {
			kafka := cluster(t)
			sc := sidecartest.Start(t, kafka.ListenAddrs(), func(c *sidecar.Config) { small(c); c.DrainTimeout = time.Second })
			p := dialRaw(t, sc.Target)
			w := watchHeap(p)
			x.play(p)
			most := w.end()
			t.Logf("the heap grew by %.1f MiB at most, %.1f MiB are allowed", float64(most)/mib, float64(x.most)/mib)
			if most > x.most {
				t.Errorf("the heap grew by %.1f MiB, at most %.1f MiB are allowed", float64(most)/mib, float64(x.most)/mib)
			}
		})
	}
}

// What S9 states beside: a connection takes at most 128 KiB (gRPC's buffers), and is one of
// MaxConnections; an id of a session that is over about 150 bytes, and is one of 65,536.
func TestMemoryOfConnectionsAndClosedIDs(t *testing.T) {
	t.Run("connections", func(t *testing.T) {
		const perConnection = 128 << 10
		kafka := cluster(t)
		sc := sidecartest.Start(t, kafka.ListenAddrs(), func(c *sidecar.Config) { small(c); c.MaxConnections, c.DrainTimeout = 100, time.Second })
		base := liveHeap()
		var peers []*rawPeer
		for range 120 {
			p := dialRaw(t, sc.Target)
			_ = p.message(p.call(sidecarpb.Sidecar_Status_FullMethodName), 1, make([]byte, 1000))
			peers = append(peers, p)
		}
		lost := 0
		for _, p := range peers[100:] { // they are accepted in their order
			if _, ended := p.over(1); ended {
				lost++
			}
		}
		grown := liveHeap() - base
		t.Logf("100 connections: %.1f MiB, both ends together", float64(grown)/mib)
		if grown > 100*perConnection || lost != 20 { // the test's own ends are in it
			t.Errorf("100 connections take %d KiB each, at most %d are allowed; %d of 20 more were refused", grown/100>>10, perConnection>>10, lost)
		}
	})
	t.Run("ids of closed sessions", func(t *testing.T) {
		base := liveHeap()
		n := sidecar.RememberClosed(2*sidecar.MaxClosedIDs, func(i int) string { return fmt.Sprintf("%064d", i) })
		grown := liveHeap() - base
		t.Logf("%d ids take %.1f MiB", n(), float64(grown)/mib)
		if n() != sidecar.MaxClosedIDs || grown > 12*mib {
			t.Errorf("%d ids are remembered, and take %.1f MiB", n(), float64(grown)/mib)
		}
	})
}
