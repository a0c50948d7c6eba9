package producer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/internal/neterr"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/producer/internal/socketowner"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

const (
	// protocolVersion is the major version of the protocol that is spoken here.
	protocolVersion = 1
	// connectTimeout bounds an attempt, from dialling to Welcome.
	connectTimeout = 5 * time.Second
	// writeBuffer collects what some frames become on the wire into few system calls. It is larger
	// than a frame (wire.MaxFrameBytes), and smaller than a buffer that is kept (package resend).
	writeBuffer = 256 << 10
)

// connect makes one attempt: connection, stream, Hello, Welcome. Every attempt has a connection of
// its own: gRPC's reconnecting would come on top of ours, with another backoff, and hide why it
// fails.
func connect(done context.Context, c *shared) (*stream, error) {
	d := &dialLog{cfg: c.cfg}
	conn, err := grpc.NewClient("passthrough:///"+d.authority(), d.options()...)
	if err != nil {
		return nil, fmt.Errorf("producer: %s: %w", c.cfg.Target, err)
	}
	s := &stream{shared: c, conn: conn}
	s.ctx, s.fail = context.WithCancelCause(done)
	timeout := time.AfterFunc(connectTimeout, func() { s.fail(fmt.Errorf("no answer within %v", connectTimeout)) })
	err = s.hello()
	if err == nil && !timeout.Stop() {
		err = context.Cause(s.ctx)
	}
	if err != nil {
		timeout.Stop()
		err = d.explain(err, context.Cause(s.ctx))
		s.fail(err)
		_ = conn.Close()
		return nil, err
	}
	return s, nil
}

// hello opens the stream and waits for Welcome.
func (s *stream) hello() error {
	var err error
	s.rpc, err = s.conn.NewStream(s.ctx, &sidecarpb.Sidecar_ServiceDesc.Streams[0], sidecarpb.Sidecar_DeliveryStream_FullMethodName,
		grpc.ForceCodecV2(wire.Codec{}))
	if err != nil {
		return err
	}
	// A failed send is explained by the receive.
	_ = s.rpc.SendMsg(&sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_Hello{Hello: s.sayHello()}})
	var answer sidecarpb.DeliveryStreamResponse
	if err := s.rpc.RecvMsg(&answer); err != nil {
		return err
	}
	s.welcome = answer.GetWelcome()
	switch w := s.welcome; {
	case w == nil:
		return fmt.Errorf("the first message was %T instead of Welcome", answer.GetKind())
	case w.GetVersion() != protocolVersion:
		return versionMismatch(fmt.Sprintf("it answered with version %d", w.GetVersion()), w.GetServerVersion())
	}
	return s.mayServe(s.welcome)
}

func versionMismatch(said, server string) *Error {
	if server == "" {
		server = "unknown"
	}
	return &Error{Code: CodeVersionMismatch, Partition: -1,
		Message: fmt.Sprintf("this client (%s) speaks protocol version %d, the sidecar (%s) another one: %s; deploy app and sidecar of the same major version",
			clientVersion(), protocolVersion, server, said)}
}

// dialLog dials and remembers why that failed: gRPC wraps it in text.
type dialLog struct {
	cfg DialConfig
	mu  sync.Mutex
	err error
}

func (d *dialLog) options() []grpc.DialOption {
	creds := insecure.NewCredentials() // a unix socket is protected by its directory and the peer's credentials
	if d.cfg.encrypted() {
		creds = encryption{&d.cfg}
	}
	return []grpc.DialOption{grpc.WithContextDialer(d.dial), grpc.WithTransportCredentials(creds), grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(), grpc.WithWriteBufferSize(writeBuffer), grpc.WithIdleTimeout(0)}
}

// encryption asks for what is in force at each handshake: grpc connects again by itself, too.
type encryption struct{ cfg *DialConfig }

func (e encryption) now() credentials.TransportCredentials {
	return credentials.NewTLS(e.cfg.encryption())
}

// ClientHandshake implements [credentials.TransportCredentials].
func (e encryption) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return e.now().ClientHandshake(ctx, authority, raw)
}

// ServerHandshake implements [credentials.TransportCredentials]; a client has none.
func (e encryption) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("producer: a client's credentials were used as a server's")
}

// Info implements [credentials.TransportCredentials].
func (e encryption) Info() credentials.ProtocolInfo { return e.now().Info() }

// Clone implements [credentials.TransportCredentials].
func (e encryption) Clone() credentials.TransportCredentials { return e }

// OverrideServerName implements [credentials.TransportCredentials]; the address names the server.
func (e encryption) OverrideServerName(string) error { return nil }

func (d *dialLog) authority() string {
	if network, addr, err := d.cfg.address(); err == nil && network == "tcp" {
		return addr
	}
	return "localhost"
}

func (d *dialLog) dial(ctx context.Context, _ string) (conn net.Conn, err error) {
	if d.cfg.Dialer != nil {
		conn, err = d.cfg.Dialer(ctx)
	} else {
		var network, addr string
		if network, addr, err = d.cfg.address(); err == nil {
			conn, err = new(net.Dialer).DialContext(ctx, network, addr)
		}
		if err == nil {
			if err = socketowner.Check(conn, addr, d.cfg.SidecarUIDs, d.cfg.peer); err != nil {
				_ = conn.Close()
			}
		}
	}
	if err != nil {
		d.mu.Lock()
		d.err = err
		d.mu.Unlock()
	}
	return conn, err
}

// explain says what is wrong and what to do. cause is why the stream's context ended, if it has.
func (d *dialLog) explain(err, cause error) error {
	if fatal, ok := errors.AsType[*Error](err); ok {
		return fatal
	}
	d.mu.Lock()
	dialErr := d.err
	d.mu.Unlock()
	if stranger, ok := errors.AsType[*socketowner.StrangerError](dialErr); ok {
		return fmt.Errorf("producer: not the sidecar, as far as can be known: %w", stranger)
	}
	if dialErr != nil {
		return fmt.Errorf("producer: no sidecar at %s: %s: %w", d.cfg.Target, dialRemedy(dialErr), dialErr)
	}
	if fenced, ok := asFenced(err); ok {
		return fenced
	}
	st, _ := status.FromError(err)
	switch st.Code() {
	case codes.FailedPrecondition:
		return versionMismatch(st.Message(), "")
	case codes.Unauthenticated, codes.PermissionDenied:
		return d.cfg.unauthorized(err, st.Message())
	case codes.InvalidArgument:
		return invalidConfig(fmt.Errorf("the sidecar at %s refuses what this client says of itself: %s", d.cfg.Target, st.Message()))
	case codes.Unimplemented:
		return fmt.Errorf("producer: what listens at %s is not an Ackmark sidecar: correct the target: %w", d.cfg.Target, err)
	}
	if cause != nil {
		err = cause
	}
	if d.cfg.TLS != nil || d.cfg.renewed != nil { // a refused client certificate may arrive as nothing but a closed connection
		err = fmt.Errorf("%w; check that each side trusts the other's certificate", err)
	}
	return fmt.Errorf("producer: the sidecar at %s did not welcome this client: %w", d.cfg.Target, err)
}

// unauthorized is a refusal that no retry changes, at Hello or later: an app may not speak for a
// group.
func (c DialConfig) unauthorized(err error, said string) *Error {
	return &Error{Code: CodeUnauthorized, Partition: -1, Err: err,
		Message: fmt.Sprintf("the sidecar at %s does not accept app %q: %s; correct DialConfig.App and Token, or the sidecar's list of apps",
			c.Target, c.App, said)}
}

func dialRemedy(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "there is no such socket; check the path, that the sidecar runs, and that its directory is mounted here"
	case neterr.Refused(err):
		return "nobody listens there; the sidecar has not started, or died and left a stale socket"
	case errors.Is(err, fs.ErrPermission):
		return "no permission; run as a user or group that the socket's directory admits"
	}
	return "the connection failed"
}

// clientVersion is the build version, for the sidecar's status page and for version mismatches.
var clientVersion = sync.OnceValue(func() string {
	const module = "github.com/ackmark/ackmark"
	if info, ok := debug.ReadBuildInfo(); ok {
		if info.Main.Path == module {
			return info.Main.Version
		}
		for _, dep := range info.Deps {
			if dep.Path == module {
				return dep.Version
			}
		}
	}
	return "unknown"
})
