package sidecar

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"github.com/ackmark/ackmark/sidecar/internal/limit"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// Nothing of a message is counted before it is read, and each may be as large as MaxMessageBytes;
// so the calls of each kind are few, those whose message is not read are fewer, and those whose
// message is being read fewer still (S9). This holds for everybody, before it is known who speaks.

// callKind sorts the methods by what their calls are bounded together with.
type callKind int

const (
	emitCall       callKind = iota
	deliveryCall            // DeliveryStream until its Hello is read
	reportsCall             // Reports
	smallCall               // Status and health
	reflectionCall          // reads many messages, each at its client's leisure
	callKinds
)

func kindOf(method string) callKind {
	switch {
	case method == sidecarpb.Sidecar_Emit_FullMethodName:
		return emitCall
	case method == sidecarpb.Sidecar_DeliveryStream_FullMethodName:
		return deliveryCall
	case method == sidecarpb.Sidecar_Reports_FullMethodName:
		return reportsCall
	case strings.HasPrefix(method, "/grpc.reflection."):
		return reflectionCall
	}
	return smallCall // also methods that nobody has: gRPC refuses them
}

const (
	// maxEmitCalls bounds unary emits that are open at the same time: most of them wait for Kafka.
	maxEmitCalls = 1024
	// maxRefusing is how many calls beyond the limit may be open at the same time to be told so in
	// their response.
	maxRefusing = 1024
	// readTimeout is how long the one message of a call may take to arrive once it is open.
	readTimeout  = 5 * time.Second
	smallReaders = 4
)

// calls are those of one kind.
type calls struct {
	maxOpen, maxUnread int32
	refusing           int32 // how many more may be open to be told that it is full

	open, unread atomic.Int32
	readers      chan struct{} // holds who reads a message now
}

// callTable has the calls of every kind.
type callTable [callKinds]calls

func (t *callTable) of(k callKind) *calls { return &t[k] }

func newCallTable(c *Config) *callTable {
	t := new(callTable)
	streams := int32(2*c.MaxSessions + 16) // twice, because every client may have a broken stream beside its new one
	for kind, x := range [callKinds]struct{ open, unread, refusing, readers int32 }{
		emitCall:       {maxEmitCalls, c.maxUnreadEmits(), maxRefusing, int32(c.emitReaders())},
		deliveryCall:   {streams, streams, 0, int32(c.emitReaders())},
		reportsCall:    {int32(64 + 2*len(c.Apps)), 64, 0, smallReaders},
		smallCall:      {256, 64, 0, smallReaders},
		reflectionCall: {smallReaders, smallReaders, 0, smallReaders},
	} {
		t[kind] = calls{maxOpen: x.open, maxUnread: x.unread, refusing: x.refusing, readers: make(chan struct{}, x.readers)}
	}
	return t
}

// tap looks at a call before anything of its message is read.
func (s *Server) tap(ctx context.Context, info *tap.Info) (context.Context, error) {
	if why := peerOf(ctx).refused; why != "" {
		return nil, status.Error(codes.PermissionDenied, why)
	}
	return s.calls.of(kindOf(info.FullMethodName)).enter(ctx)
}

// place is a call's place among those of its kind.
type place struct {
	kind    *calls
	read    func()           // gives the place of an unread call back, once
	refused *sidecarpb.Error // told in the response
}

type placeKey struct{}

func placeOf(ctx context.Context) place {
	p, _ := ctx.Value(placeKey{}).(place)
	return p
}

// enter takes a place until the context ends. Whoever is refused took nothing: nobody ends the
// context of a call that is refused here.
func (c *calls) enter(ctx context.Context) (context.Context, error) {
	open, unread := c.open.Add(1), c.unread.Add(1)
	p := place{kind: c}
	if open > c.maxOpen || unread > c.maxUnread {
		p.refused = limit.Full("%d calls of this kind are open, and %d of them unread", fullCalls, open-1, unread-1)
		if open > c.maxOpen+c.refusing || c.refusing == 0 {
			c.open.Add(-1)
			c.unread.Add(-1)
			return ctx, limit.StatusOf(p.refused)
		}
	}
	p.read = sync.OnceFunc(func() { c.unread.Add(-1) })
	context.AfterFunc(ctx, func() {
		p.read()
		c.open.Add(-1)
	})
	return context.WithValue(ctx, placeKey{}, p), nil
}

// reader waits until the call may read its message. Free gives the reader back, and the place of an
// unread call.
func (c *calls) reader(ctx context.Context) (free func(), err error) {
	late := time.NewTimer(readTimeout)
	defer late.Stop()
	select {
	case c.readers <- struct{}{}:
	case <-late.C:
		return nil, limit.FullStatus("no reader came free within %s", fullCalls, readTimeout)
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	return func() {
		<-c.readers
		if p := placeOf(ctx); p.read != nil {
			p.read()
		}
	}, nil
}

// maxUnreadEmits is how many emits may wait for a reader: together they hold at most MaxBytes, but
// for the least that work needs.
func (c *Config) maxUnreadEmits() int32 {
	return int32(min(max(c.MaxBytes/streamWindow, 64), maxEmitCalls))
}

// emitReaders is how many emits are read at the same time: together they hold at most an eighth of
// MaxBytes, but for the least that work needs.
func (c *Config) emitReaders() int {
	return int(max(smallReaders, c.MaxBytes/8/int64(c.MaxMessageBytes)))
}

// bounded is a service whose calls read their one message by readOne: gRPC calls a unary handler
// when it has read the message, which is too late to bound what that takes, and keeps what it does
// not know of it. Clients cannot tell the difference.
func (s *Server) bounded(desc *grpc.ServiceDesc) *grpc.ServiceDesc {
	out := *desc
	out.Methods, out.Streams = nil, nil
	for _, m := range desc.Methods {
		out.Streams = append(out.Streams, grpc.StreamDesc{StreamName: m.MethodName, Handler: func(srv any, stream grpc.ServerStream) error {
			answer, err := m.Handler(srv, stream.Context(), func(req any) error { return readOne(stream, req) }, nil)
			if err != nil {
				return err
			}
			return stream.SendMsg(answer)
		}})
	}
	for _, st := range desc.Streams {
		if !st.ClientStreams {
			handler := st.Handler
			st.Handler = func(srv any, stream grpc.ServerStream) error { return handler(srv, oneMessage{stream}) }
		}
		out.Streams = append(out.Streams, st)
	}
	return &out
}

// oneMessage is a stream whose client sends one message.
type oneMessage struct{ grpc.ServerStream }

func (s oneMessage) RecvMsg(m any) error { return readOne(s.ServerStream, m) }
