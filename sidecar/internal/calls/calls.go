package calls

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
	"github.com/ackmark/ackmark/sidecar/internal/peer"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// Kind sorts the methods by what their calls are bounded together with.
type Kind int

const (
	Emit           Kind = iota
	Delivery            // DeliveryStream until its Hello is read
	reportsCall         // Reports
	smallCall           // Status and health
	reflectionCall      // reads many messages, each at its client's leisure
	Kinds
)

func kindOf(method string) Kind {
	switch {
	case method == sidecarpb.Sidecar_Emit_FullMethodName:
		return Emit
	case method == sidecarpb.Sidecar_DeliveryStream_FullMethodName:
		return Delivery
	case method == sidecarpb.Sidecar_Reports_FullMethodName:
		return reportsCall
	case strings.HasPrefix(method, "/grpc.reflection."):
		return reflectionCall
	}
	return smallCall // also methods that nobody has: gRPC refuses them
}

const (
	// MaxEmitCalls bounds unary emits that are open at the same time: most of them wait for Kafka.
	MaxEmitCalls = 1024
	// maxRefusing is how many calls beyond the limit may be open at the same time to be told so in
	// their response.
	maxRefusing = 1024
	// readTimeout is how long the one message of a call may take to arrive once it is open.
	readTimeout  = 5 * time.Second
	smallReaders = 4
	// StreamWindow is what a call may hold that nobody reads yet; gRPC widens it for the message
	// that is being read. With 512 KiB unfinished calls of hostile peers hold more than S9 allows.
	StreamWindow = 256 << 10
)

// Calls are those of one kind.
type Calls struct {
	maxOpen   atomic.Int32
	maxUnread int32
	refusing  int32 // how many more may be open to be told that it is full

	open, unread atomic.Int32
	readers      chan struct{} // holds who reads a message now
}

// Table has the calls of every kind.
type Table [Kinds]Calls

// Of are the calls of a kind.
func (t *Table) Of(k Kind) *Calls { return &t[k] }

// Limits are the sidecar's limits that the calls' follow from.
type Limits struct {
	Sessions, Apps int
	Bytes          int64
	MessageBytes   int
}

// New makes the table of a sidecar with such limits.
func New(c Limits) *Table {
	t := new(Table)
	streams := int32(2*c.Sessions + 16) // twice, because every client may have a broken stream beside its new one
	for kind, x := range [Kinds]struct{ open, unread, refusing, readers int32 }{
		Emit:           {MaxEmitCalls, c.maxUnreadEmits(), maxRefusing, int32(c.emitReaders())},
		Delivery:       {streams, streams, 0, int32(c.emitReaders())},
		reportsCall:    {openReports(c.Apps), 64, 0, smallReaders},
		smallCall:      {256, 64, 0, smallReaders},
		reflectionCall: {smallReaders, smallReaders, 0, smallReaders},
	} {
		c := t.Of(Kind(kind))
		c.maxUnread, c.refusing, c.readers = x.unread, x.refusing, make(chan struct{}, x.readers)
		c.maxOpen.Store(x.open)
	}
	return t
}

func openReports(apps int) int32 { return int32(64 + 2*apps) }

// Apps sets the limit that follows from the number of apps in the list.
func (t *Table) Apps(n int) { t.Of(reportsCall).maxOpen.Store(openReports(n)) }

// Tap looks at a call before anything of its message is read.
func (t *Table) Tap(ctx context.Context, info *tap.Info) (context.Context, error) {
	if why := peer.Of(ctx).WhyRefused(); why != "" {
		return nil, status.Error(codes.PermissionDenied, why)
	}
	return t.Of(kindOf(info.FullMethodName)).enter(ctx)
}

// place is a call's place among those of its kind.
type place struct {
	kind    *Calls
	read    func()           // gives the place of an unread call back, once
	refused *sidecarpb.Error // told in the response
}

type placeKey struct{}

func placeOf(ctx context.Context) place {
	p, _ := ctx.Value(placeKey{}).(place)
	return p
}

// Counts are how many calls are open, how many of them unread, and how many being read.
func (c *Calls) Counts() (open, unread, reading int) {
	return int(c.open.Load()), int(c.unread.Load()), len(c.readers)
}

// enter takes a place until the context ends. Whoever is refused took nothing: nobody ends the
// context of a call that is refused here.
func (c *Calls) enter(ctx context.Context) (context.Context, error) {
	open, unread := c.open.Add(1), c.unread.Add(1)
	p := place{kind: c}
	if most := c.maxOpen.Load(); open > most || unread > c.maxUnread {
		p.refused = limit.Full("%d calls of this kind are open, and %d of them unread", fullCalls, open-1, unread-1)
		if open > most+c.refusing || c.refusing == 0 {
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

// Reader waits until the call may read its message. Free gives the reader back, and the place of an
// unread call.
func (c *Calls) Reader(ctx context.Context) (free func(), err error) {
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
func (c Limits) maxUnreadEmits() int32 {
	return int32(min(max(c.Bytes/StreamWindow, 64), MaxEmitCalls))
}

// emitReaders is how many emits are read at the same time: together they hold at most an eighth of
// MaxBytes, but for the least that work needs.
func (c Limits) emitReaders() int {
	return int(max(smallReaders, c.Bytes/8/int64(c.MessageBytes)))
}

// bounded is a service whose calls read their one message by readOne: gRPC calls a unary handler
// when it has read the message, which is too late to bound what that takes, and keeps what it does
// not know of it. Clients cannot tell the difference.
func bounded(desc *grpc.ServiceDesc) *grpc.ServiceDesc {
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

// RecvMsg implements grpc.ServerStream.
func (s oneMessage) RecvMsg(m any) error { return readOne(s.ServerStream, m) }
