package sidecartest

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// Faulty stands between clients and a real sidecar and passes their messages on, except for the
// faults that a test sets. Setters hold for messages from then on. All methods are safe for
// concurrent use.
type Faulty struct {
	// Target is what clients dial.
	Target string

	t    testing.TB
	conn *grpc.ClientConn // to the real sidecar
	path string

	relays sync.WaitGroup

	mu      sync.Mutex
	server  *grpc.Server
	serving chan struct{} // closed when server has ended
	faults  faults
	open    map[context.Context]context.CancelCauseFunc
	changed chan struct{} // closed and replaced at each change of faults
	seen    Seen
}

// Seen counts what passed.
type Seen struct {
	// Streams that were opened, Frames of units that reached the real sidecar, Reports that reached
	// clients.
	Streams, Frames, Reports int
}

type faults struct {
	cutAfter     int // frames until the stream is cut; 0: never
	refuse       error
	version      uint32
	withhold     bool
	delay        time.Duration
	shrinkBytes  uint64
	shrinkRecord uint64
}

// NewFaulty starts one in front of the sidecar at target, until the test ends. Without faults it
// changes nothing.
func NewFaulty(t testing.TB, target string) *Faulty {
	t.Helper()
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodecV2(wire.Codec{})))
	if err != nil {
		t.Fatal(err)
	}
	f := &Faulty{t: t, conn: conn, path: filepath.Join(shortDir(t), "faulty.sock"), open: make(map[context.Context]context.CancelCauseFunc), changed: make(chan struct{})}
	f.Target = "unix://" + f.path
	f.Start()
	t.Cleanup(func() {
		f.Stop()
		_ = conn.Close()
	})
	return f
}

// Start listens again after Stop.
func (f *Faulty) Start() {
	f.t.Helper()
	lis, err := net.Listen("unix", f.path)
	if err != nil {
		f.t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	server, serving := grpc.NewServer(grpc.ForceServerCodecV2(wire.Codec{}), grpc.UnknownServiceHandler(f.handle), grpc.WaitForHandlers(true)), make(chan struct{})
	f.server, f.serving = server, serving
	go func() {
		defer close(serving)
		_ = server.Serve(lis)
	}()
}

// Stop closes the socket and every connection, like a sidecar that was killed. The real one goes
// on.
func (f *Faulty) Stop() {
	f.mu.Lock()
	server, serving := f.server, f.serving
	f.server = nil
	f.mu.Unlock()
	if server != nil {
		f.Cut()
		server.Stop()
		<-serving
	}
	f.relays.Wait()
}

// Restart stops and starts.
func (f *Faulty) Restart() {
	f.t.Helper()
	f.Stop()
	f.Start()
}

// Cut breaks every open stream now.
func (f *Faulty) Cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, cancel := range f.open {
		cancel(errCut)
	}
}

var errCut = status.Error(codes.Unavailable, "sidecartest: the stream was cut")

// CutAfterFrames breaks each stream after so many more frames of units have reached the sidecar,
// once; 0: never.
func (f *Faulty) CutAfterFrames(n int) { f.set(func(x *faults) { x.cutAfter = n }) }

// RefuseHello answers every new stream with this gRPC status; nil: no more.
func (f *Faulty) RefuseHello(err error) { f.set(func(x *faults) { x.refuse = err }) }

// SpeakVersion answers Hello as a sidecar of another major version does; 0: no more.
func (f *Faulty) SpeakVersion(v uint32) { f.set(func(x *faults) { x.version = v }) }

// WithholdReports keeps everything that the sidecar says, from Welcome on, until it is called with
// false.
func (f *Faulty) WithholdReports(yes bool) { f.set(func(x *faults) { x.withhold = yes }) }

// DelayReports passes each message down so much later.
func (f *Faulty) DelayReports(d time.Duration) { f.set(func(x *faults) { x.delay = d }) }

// ShrinkCredit makes the credit of new streams smaller; zeros: as it is.
func (f *Faulty) ShrinkCredit(bytes, records uint64) {
	f.set(func(x *faults) { x.shrinkBytes, x.shrinkRecord = bytes, records })
}

// Seen returns what passed so far.
func (f *Faulty) Seen() Seen {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen
}

func (f *Faulty) set(change func(*faults)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.faults)
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *Faulty) get() (faults, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.faults, f.changed
}

// handle passes any call on.
func (f *Faulty) handle(_ any, down grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(down)
	ctx, cancel := context.WithCancelCause(down.Context())
	defer cancel(nil)
	x, _ := f.get()
	delivery := method == sidecarpb.Sidecar_DeliveryStream_FullMethodName
	if delivery && x.refuse != nil {
		return x.refuse
	}
	if delivery && x.version != 0 {
		return status.Errorf(codes.FailedPrecondition, "protocol version 1 is spoken by the client, version %d by this sidecar: use the same major version on both sides", x.version)
	}
	f.mu.Lock()
	f.open[ctx] = cancel
	if delivery {
		f.seen.Streams++
	}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.open, ctx)
		f.mu.Unlock()
	}()
	return f.relay(ctx, cancel, down, method)
}

func (f *Faulty) relay(ctx context.Context, cancel context.CancelCauseFunc, down grpc.ServerStream, method string) error {
	md, _ := metadata.FromIncomingContext(ctx)
	up, err := f.conn.NewStream(metadata.NewOutgoingContext(ctx, md.Copy()), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method)
	if err != nil {
		return err
	}
	// This goroutine sits in RecvMsg until the handler has returned and gRPC has ended the stream;
	// Stop waits for it.
	f.relays.Go(func() { f.relayUp(ctx, cancel, down, up) })
	return f.relayDown(ctx, down, up)
}

func (f *Faulty) relayUp(ctx context.Context, cancel context.CancelCauseFunc, down grpc.ServerStream, up grpc.ClientStream) {
	for ctx.Err() == nil {
		var m wire.Message
		if err := down.RecvMsg(&m); err != nil {
			_ = up.CloseSend()
			return
		}
		units := isUnits(&m)
		raw := wire.Raw{Buffers: mem.BufferSlice{m.Take()}}
		err := up.SendMsg(&raw)
		raw.Buffers.Free()
		if err != nil {
			return
		}
		if units && f.frame() {
			cancel(errCut)
			return
		}
	}
}

// frame counts a frame, and tells whether the stream is to be cut now.
func (f *Faulty) frame() (cut bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen.Frames++
	if f.faults.cutAfter == 0 {
		return false
	}
	f.faults.cutAfter--
	return f.faults.cutAfter == 0
}

func (f *Faulty) relayDown(ctx context.Context, down grpc.ServerStream, up grpc.ClientStream) error {
	for {
		var m wire.Message
		err := up.RecvMsg(&m)
		if cause := context.Cause(ctx); cause != nil && down.Context().Err() == nil {
			return cause
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := f.wait(ctx); err != nil {
			return err
		}
		if err := f.pass(down, &m); err != nil {
			return err
		}
	}
}

// wait holds a message back as long as the faults say.
func (f *Faulty) wait(ctx context.Context) error {
	x, changed := f.get()
	if x.delay > 0 {
		select {
		case <-time.After(x.delay):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	for x.withhold {
		select {
		case <-changed:
			x, changed = f.get()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func (f *Faulty) pass(down grpc.ServerStream, m *wire.Message) error {
	x, _ := f.get()
	var cold sidecarpb.DeliveryStreamResponse
	if _, hot, err := m.Response(&cold); err == nil && hot {
		f.mu.Lock()
		f.seen.Reports++
		f.mu.Unlock()
	} else if w := cold.GetWelcome(); err == nil && w != nil && x.shrinkBytes+x.shrinkRecord > 0 {
		shrink(w.GetCredit(), x)
		m.Free()
		return down.SendMsg(&cold)
	}
	raw := wire.Raw{Buffers: mem.BufferSlice{m.Take()}}
	defer raw.Buffers.Free()
	return down.SendMsg(&raw)
}

func shrink(c *sidecarpb.Credit, x faults) {
	if x.shrinkBytes > 0 {
		c.Bytes = min(c.GetBytes(), x.shrinkBytes)
	}
	if x.shrinkRecord > 0 {
		c.Records = min(c.GetRecords(), x.shrinkRecord)
	}
}

func isUnits(m *wire.Message) bool {
	_, hot, err := m.Request(new(sidecarpb.DeliveryStreamRequest))
	return err == nil && hot
}
