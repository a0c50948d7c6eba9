package sidecar

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/sidecar/internal/apps"
	"github.com/ackmark/ackmark/sidecar/internal/peer"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// reporter answers Reports.
type reporter struct {
	identity *identity
	drain    *draining
	apps     *apps.Apps
}

const reportBatch = 256

// Reports streams the fate of queued emits. It ends with OK when half of the ring was sent and
// waits for a cursor: call it again with the last id seen.
func (s *reporter) Reports(req *sidecarpb.ReportsRequest, stream grpc.ServerStreamingServer[sidecarpb.ReportsResponse]) error {
	if req.GetApp() == "" {
		return status.Error(codes.InvalidArgument, "app is required: reports are kept for each app")
	}
	a, err := s.apps.Admit(stream.Context(), req.GetApp(), req.GetToken())
	if err != nil {
		return err
	}
	defer a.Leave()
	done, err := a.ReadReports()
	if err != nil {
		return err
	}
	defer done()
	p := peer.Of(stream.Context())
	cursor, others := a.Ring.Forget(p, req.GetAfterId())
	if others {
		s.apps.Refusals.Note(p, a.Name, apps.RefusedReports, "the reports that are kept are of other processes' emits: read them there, or give the app a token, which makes its processes one")
	}
	// At once: a client whose records died with another sidecar would wait for their reports for
	// ever.
	if err := stream.Send(&sidecarpb.ReportsResponse{SidecarId: s.identity.id}); err != nil {
		return err
	}
	for sent := 0; sent < max(a.Ring.Size/2, 1); {
		batch, wait := a.Ring.Read(p, cursor, reportBatch)
		if len(batch) == 0 {
			select {
			case <-wait:
				continue
			case <-stream.Context().Done():
				return status.FromContextError(stream.Context().Err()).Err()
			case <-s.drain.over:
				// Every record has its fate now, the last ones maybe since the look above.
				if batch, _ = a.Ring.Read(p, cursor, reportBatch); len(batch) == 0 {
					return nil
				}
			}
		}
		if err := stream.Send(&sidecarpb.ReportsResponse{Reports: batch, SidecarId: s.identity.id}); err != nil {
			return err
		}
		cursor = batch[len(batch)-1].GetReportId() + 1
		sent += len(batch)
	}
	return nil
}
