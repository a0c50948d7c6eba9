package calls

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// fullCalls is the time to wait when too many calls are open: most end when their record is
// acknowledged.
const fullCalls = 50 * time.Millisecond

// readOne reads the one message of a call when one of the readers of its kind is free, within the
// bounds of the contract. Who is slow to send it gives the reader back.
func readOne(stream grpc.ServerStream, into any) error {
	p := placeOf(stream.Context())
	if p.kind == nil { // no call of a client: everything that comes over a connection passes tap
		return stream.RecvMsg(into)
	}
	free, err := p.kind.Reader(stream.Context())
	if err != nil {
		return err
	}
	defer free()
	late := time.NewTimer(readTimeout)
	defer late.Stop()
	raw, read := new(wire.Message), make(chan error, 1)
	go func() { read <- stream.RecvMsg(raw) }() // ends with the call at the latest
	select {
	case err = <-read:
	case <-late.C:
		return status.Errorf(codes.DeadlineExceeded, "the message did not arrive within %s", readTimeout)
	}
	if err != nil {
		return err
	}
	defer raw.Free()
	if err := wire.Decode(raw.Bytes(), into.(proto.Message)); err != nil { //nolint:forcetypeassert // the generated handlers pass nothing else
		return status.Error(codes.InvalidArgument, err.Error())
	}
	return nil
}

// Service is the service, bounded; an Emit that finds it full is told so in its response,
// before its message is read.
func Service() *grpc.ServiceDesc {
	desc := bounded(&sidecarpb.Sidecar_ServiceDesc)
	for i, st := range desc.Streams {
		if st.StreamName != "Emit" {
			continue
		}
		desc.Streams[i].Handler = func(srv any, stream grpc.ServerStream) error {
			if refused := placeOf(stream.Context()).refused; refused != nil {
				return stream.SendMsg(&sidecarpb.EmitResponse{Error: refused})
			}
			return st.Handler(srv, stream)
		}
	}
	return desc
}

// Registrar registers services whose calls are bounded like the sidecar's own.
type Registrar struct{ *grpc.Server }

// RegisterService implements grpc.ServiceRegistrar.
func (r Registrar) RegisterService(desc *grpc.ServiceDesc, impl any) {
	r.Server.RegisterService(bounded(desc), impl)
}

var _ reflection.GRPCServer = Registrar{}
