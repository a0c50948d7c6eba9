package sidecar_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"google.golang.org/grpc"

	"github.com/ackmark/ackmark/internal/proof/verify/leftover"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// script is bytes that are read as what peers do to a sidecar, one step after the other: streams
// that open, break, resume and lie, units, Releases, emits, reports, partitions that stand still,
// garbage, and time that passes.
type script struct {
	t     *testing.T
	b     *bubble
	rest  []byte
	peers [4]*hostilePeer
	known [3]*hostileSession
	stuck *kfake.FaultHandle
	calls sync.WaitGroup
	ctx   context.Context
}

// hostilePeer is one stream of a client that keeps the protocol as far as the script lets it.
type hostilePeer struct {
	*hostileSession
	stream grpc.ClientStream
	cancel context.CancelFunc
}

// hostileSession is what a client knows of its session.
type hostileSession struct {
	id, app string

	mu   sync.Mutex
	next uint64
	open map[uint64]bool // sent, and not reported
}

func (h *hostileSession) heard(first, count uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for seq := range h.open {
		if seq >= first && seq-first < count {
			delete(h.open, seq)
		}
	}
}

// unreported is what Hello says.
func (h *hostileSession) unreported() (list []*sidecarpb.Range) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, seq := range slices.Sorted(maps.Keys(h.open)) {
		list = append(list, &sidecarpb.Range{First: seq, Count: 1})
	}
	return list
}

// welcomed takes over what the sidecar has.
func (h *hostileSession) welcomed(w *sidecarpb.Welcome) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.next = w.GetHighestSequence() + 1
	for seq := range h.open {
		if !w.GetResumed() || seq >= h.next {
			delete(h.open, seq)
		}
	}
}

func (s *script) byte() byte {
	if len(s.rest) == 0 {
		return 0
	}
	b := s.rest[0]
	s.rest = s.rest[1:]
	return b
}

// number is small mostly, and otherwise as large as a peer can make it.
func (s *script) number() uint64 {
	switch b := s.byte(); {
	case b < 200:
		return uint64(b % 32)
	case b < 210:
		return math.MaxUint64 - uint64(b)
	default:
		return 1 << (b % 64)
	}
}

// epoch is one of a few mostly.
func (s *script) epoch() uint64 {
	if b := s.byte(); b < 250 {
		return uint64(b%6) + 1
	}
	return s.number()
}

// peer returns a stream that is open, if there is one.
func (s *script) peer() *hostilePeer {
	i := s.byte()
	for k := range byte(4) {
		if p := s.peers[(i+k)%4]; p != nil {
			return p
		}
	}
	return nil
}

func (s *script) open(i int) {
	s.cut(i)
	ctx, cancel := context.WithCancel(s.ctx)
	stream, err := s.b.conn.NewStream(ctx, streamDesc, sidecarpb.Sidecar_DeliveryStream_FullMethodName)
	if err != nil {
		cancel()
		return
	}
	k := s.byte() % 3
	if s.known[k] == nil || s.byte()%8 == 0 {
		s.known[k] = &hostileSession{id: fmt.Sprintf("s%d.%d", k, s.byte()), app: []string{"app", "other"}[k%2], next: 1, open: make(map[uint64]bool)}
	}
	p := &hostilePeer{hostileSession: s.known[k], stream: stream, cancel: cancel}
	reads := s.byte()%8 > 0
	hello := &sidecarpb.Hello{Version: 1, App: p.app, SessionId: p.id}
	if s.byte()%8 > 0 {
		hello.Features = []string{"resume"}
	}
	if s.byte()%4 > 0 {
		hello.PreviousSidecarId = s.b.status(s.t).GetSidecarId()
		hello.Unreported = p.unreported()
		if s.byte()%8 == 0 { // a lie
			hello.Unreported = nil
			for first := uint64(1); len(hello.Unreported) < int(s.byte()%4); {
				r := &sidecarpb.Range{First: first + s.number(), Count: s.number()}
				hello.Unreported = append(hello.Unreported, r)
				first = r.First + r.Count + 1
			}
		}
	}
	s.peers[i] = p
	_ = stream.SendMsg(helloMsg(hello))
	if !reads {
		return
	}
	s.calls.Go(func() {
		for {
			var m wire.Message
			if stream.RecvMsg(&m) != nil {
				return
			}
			var cold sidecarpb.DeliveryStreamResponse
			if body, hot, _ := m.Response(&cold); hot {
				_ = wire.DecodeReports(body, func(r wire.Range) { p.heard(r.First, r.Count) }, func(f *sidecarpb.UnitFailure) { p.heard(f.GetSequence(), 1) })
			}
			if w := cold.GetWelcome(); w != nil {
				p.welcomed(w)
			}
			m.Free()
		}
	})
	if s.byte()%8 > 0 {
		synctest.Wait()
	}
}

func (s *script) cut(i int) {
	if p := s.peers[i]; p != nil {
		p.cancel()
		s.peers[i] = nil
	}
}

// send never waits for a sidecar that does not read.
func (s *script) send(p *hostilePeer, m any) {
	if p == nil {
		return
	}
	sent := make(chan struct{})
	s.calls.Go(func() {
		defer close(sent)
		_ = p.stream.SendMsg(m)
	})
	select {
	case <-sent:
	case <-time.After(time.Second):
		p.cancel()
	}
}

func (s *script) assign() *sidecarpb.DeliveryStreamRequest {
	a := &sidecarpb.Assign{Group: "g" + strconv.Itoa(int(s.byte()%3)), MemberId: "m" + strconv.Itoa(int(s.byte()%3)), Generation: int32(s.byte())}
	for range s.byte() % 4 {
		ap := &sidecarpb.AssignedPartition{Epoch: s.epoch(), Topic: "in", StartOffset: int64(s.number()), StartIndex: s.number()}
		ap.Partition = int32(ap.Epoch)
		for range s.byte() % 3 {
			ap.Done = append(ap.Done, &sidecarpb.DoneRun{Index: ap.StartIndex + s.number(), Offset: ap.StartOffset + int64(s.number()), Count: s.number()})
		}
		a.Partitions = append(a.Partitions, ap)
	}
	return &sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_Assign{Assign: a}}
}

// otherTopic has an index of its own for each name, mostly.
func (s *script) otherTopic() *sidecarpb.TopicName {
	k := s.byte() % 3
	t := &sidecarpb.TopicName{Index: 1000*uint32(k) + 7, Name: []string{"one", "?", "nosuch"}[k]}
	if s.byte() == 0 {
		t.Index = uint32(s.number())
	}
	return t
}

func (s *script) units(p *hostilePeer) *sidecarpb.DeliveryStreamRequest {
	u := &sidecarpb.Units{Topics: []*sidecarpb.TopicName{{Index: 0, Name: "out"}, s.otherTopic()}}
	if s.byte()%16 == 0 {
		u.ExpiresAtNs = s.number()
	}
	for range s.byte() % 16 {
		x := &sidecarpb.Unit{}
		if s.byte()%4 > 0 {
			x.Source = &sidecarpb.Source{Epoch: s.epoch(), Index: s.number(), Offset: int64(s.number())}
		}
		for range s.byte() % 4 {
			o := &sidecarpb.Output{Topic: u.Topics[s.byte()%8/7].GetIndex(), Value: make([]byte, s.byte())}
			if s.byte()%2 == 0 {
				o.Partition = new(int32(s.byte() % 5))
			}
			x.Outputs = append(x.Outputs, o)
		}
		u.Units = append(u.Units, x)
	}
	if p != nil {
		p.mu.Lock()
		u.FirstSequence = p.next
		if s.byte()%64 == 0 {
			u.FirstSequence += s.number()
		}
		p.next = u.FirstSequence + uint64(len(u.Units))
		for i := range u.Units {
			p.open[u.FirstSequence+uint64(i)] = true
		}
		p.mu.Unlock()
	}
	return &sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_Units{Units: u}}
}

func (s *script) emit() {
	req := &sidecarpb.EmitRequest{App: []string{"app", "other", ""}[s.byte()%3], Wait: sidecarpb.Wait(s.byte() % 4), Record: &sidecarpb.Record{Topic: []string{"out", "one", "nosuch", "?"}[s.byte()%4], Value: make([]byte, s.byte())}}
	if s.byte()%2 == 0 {
		req.Record.Partition = new(int32(s.byte()%6) - 1)
	}
	patience := time.Duration(s.byte()) * 10 * time.Millisecond
	s.calls.Go(func() {
		ctx, cancel := context.WithTimeout(s.ctx, patience)
		defer cancel()
		_, _ = sidecarpb.NewSidecarClient(s.b.conn).Emit(ctx, req)
	})
}

func (s *script) reports() {
	req := &sidecarpb.ReportsRequest{App: []string{"app", "other", ""}[s.byte()%3], AfterId: s.number()}
	if s.byte()%2 == 0 {
		for _, a := range s.b.status(s.t).GetApps() {
			req.AfterId = a.GetOldestReport() + s.number()
		}
	}
	patience := time.Duration(s.byte()) * 10 * time.Millisecond
	s.calls.Go(func() {
		ctx, cancel := context.WithTimeout(s.ctx, patience)
		defer cancel()
		stream, err := sidecarpb.NewSidecarClient(s.b.conn).Reports(ctx, req)
		for err == nil {
			_, err = stream.Recv()
		}
	})
}

func (s *script) step() {
	switch op := s.byte(); op % 16 {
	case 0, 1:
		s.open(int(s.byte() % 4))
	case 2, 3:
		s.send(s.peer(), s.assign())
	case 4, 5, 6, 7:
		p := s.peer()
		s.send(p, s.units(p))
	case 8:
		r := &sidecarpb.Release{RequestId: s.number()}
		for range s.byte() % 4 {
			r.Epochs = append(r.Epochs, s.epoch())
		}
		s.send(s.peer(), &sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_Release{Release: r}})
	case 9:
		switch s.byte() % 4 {
		case 0:
			s.send(s.peer(), &sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_Goodbye{Goodbye: &sidecarpb.Goodbye{}}})
		case 1:
			s.cut(int(s.byte() % 4))
		case 2:
			if p := s.peer(); p != nil {
				_ = p.stream.CloseSend()
			}
		}
	case 10:
		if s.byte()%4 > 0 {
			s.emit()
			return
		}
		n := min(int(s.byte()), len(s.rest))
		garbage := s.rest[:n:n]
		s.rest = s.rest[n:]
		s.send(s.peer(), &wire.Raw{Buffers: buffers(garbage)})
	case 11, 12:
		s.emit()
	case 13:
		s.reports()
	case 14:
		if s.stuck == nil {
			s.stuck = s.b.stick(0)
		} else {
			s.stuck.Remove()
			s.stuck = nil
		}
	case 15:
		time.Sleep(time.Duration(s.byte()) * time.Duration(s.byte()) * 100 * time.Microsecond)
	}
}

// playScript plays it to its end, lets everything end that can, and expects that everything that
// was taken is given back.
func playScript(t *testing.T, data []byte) {
	inBubble(t, func(c *sidecar.Config) {
		small(c)
		c.ReportRing = 3
		c.WillTimeout, c.DrainTimeout = 5*time.Second, 2*time.Second
	}, func(t *testing.T, b *bubble) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		s := &script{t: t, b: b, rest: data, ctx: ctx}
		for len(s.rest) > 0 {
			s.step()
			if pinned, _ := b.sc.Pinned(); pinned > 3<<20 {
				t.Fatalf("%d bytes are pinned", pinned)
			}
		}
		if len(data)%4 == 0 { // it drains in the middle of it all
			if err := b.sc.Stop(); err != nil && !isUndelivered(err) {
				t.Errorf("Run returned %v", err)
			}
			cancel()
			s.calls.Wait()
			leftover.Expect(t, "after a drain", b.sc.LeftOver)
			return
		}
		if s.stuck != nil {
			s.stuck.Remove()
		}
		leftover.Expect(t, "while sessions live", b.sc.Unaccounted)
		cancel()
		s.calls.Wait()
		leftover.Expect(t, "when nobody is left", b.sc.LeftOver)
		c := hello(t, b.conn, "honest")
		c.units(to(1, 10, 10)...)
		c.reported(10)
		if len(c.acked) != 10 {
			t.Errorf("an honest client afterwards: %v", c.failed)
		}
		c.goodbye()
		_ = c.until(func() bool { return false })
		if err := b.sc.Stop(); err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
}

func isUndelivered(err error) bool {
	_, ok := errors.AsType[*sidecar.UndeliveredError](err)
	return ok
}

// FuzzSessions plays whole sessions, as any bytes say.
func FuzzSessions(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x01\x00\x01\x01\x04\x00\x01\x01\x01\x05\x01\x01"))
	f.Fuzz(func(t *testing.T, data []byte) { playScript(t, data[:min(len(data), 2000)]) })
}

// TestWhatIsTakenIsGivenBack plays random scripts: refusals, cancels, expiries, breaks, resumes,
// deaths and drains in any order. ACKMARK_SEED plays one again.
func TestWhatIsTakenIsGivenBack(t *testing.T) {
	for _, seed := range leftover.Seeds(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		data := make([]byte, 100+r.IntN(1500))
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) { playScript(t, data) })
	}
}
