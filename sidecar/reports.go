package sidecar

import (
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// reportRing keeps the reports of an app's queued emits until the app has seen them. A report has its place from the moment its record is
// accepted, so there is no moment at which one could be dropped (S12): a full ring refuses new records instead.
type reportRing struct {
	size int

	mu      sync.Mutex
	places  share                            // of what all apps may have
	reports map[uint64]*sidecarpb.EmitReport // by id; none: not finished. Not an array: most apps have few
	oldest  uint64                           // lowest id that is kept
	next    uint64
	changed chan struct{} // closed when a report is finished; nil: nobody waits
}

// newReportRing numbers reports from the time on: after a restart ids go on above the old ones, so that an old cursor does not swallow new reports.
func newReportRing(size int, places share) reportRing {
	first := uint64(time.Now().UnixMilli()) << 20
	return reportRing{size: size, places: places, oldest: first, next: first}
}

// reserve gives a new report its place, or false if the ring is full.
func (r *reportRing) reserve() (id uint64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next-r.oldest >= uint64(r.size) || !r.places.take(1) {
		return 0, false
	}
	if r.reports == nil {
		r.reports = make(map[uint64]*sidecarpb.EmitReport)
	}
	id = r.next
	r.next++
	return id, true
}

func (r *reportRing) finish(rep *sidecarpb.EmitReport) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reports[rep.GetReportId()] = rep
	r.wake()
}

func (r *reportRing) wake() {
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// forget drops reports up to id that are finished, and returns the cursor to go on from. An id that was never given is from another life.
func (r *reportRing) forget(id uint64) (cursor uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if id < r.next {
		for r.oldest <= id && r.at(r.oldest) != nil {
			delete(r.reports, r.oldest)
			r.places.give(1)
			r.oldest++
		}
	}
	return r.oldest
}

func (r *reportRing) at(id uint64) *sidecarpb.EmitReport { return r.reports[id] }

// read returns finished reports from the cursor on, in order and without gaps, or a channel to wait on. In order, because a cursor
// speaks of all reports below it.
func (r *reportRing) read(cursor uint64, limit int) (batch []*sidecarpb.EmitReport, wait <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	cursor = max(cursor, r.oldest) // another stream of the same app may have moved on
	for ; cursor < r.next && len(batch) < limit; cursor++ {
		rep := r.at(cursor)
		if rep == nil {
			break
		}
		batch = append(batch, rep)
	}
	if len(batch) > 0 {
		return batch, nil
	}
	if r.changed == nil {
		r.changed = make(chan struct{})
	}
	return nil, r.changed
}

func (r *reportRing) status() (used int, oldest, newest uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return int(r.next - r.oldest), r.oldest, r.next - 1
}

const reportBatch = 256

// Reports streams the fate of queued emits. It ends with OK when half of the ring was sent and waits for a cursor: call it again with the last id seen.
func (s *Server) Reports(req *sidecarpb.ReportsRequest, stream grpc.ServerStreamingServer[sidecarpb.ReportsResponse]) error {
	if req.GetApp() == "" {
		return status.Error(codes.InvalidArgument, "app is required: reports are kept for each app")
	}
	a, err := s.admitApp(stream.Context(), req.GetApp(), req.GetToken())
	if err != nil {
		return err
	}
	defer a.leave()
	done, err := a.readReports()
	if err != nil {
		return err
	}
	defer done()
	cursor := a.ring.forget(req.GetAfterId())
	// At once: a client whose records died with another sidecar would wait for their reports for ever.
	if err := stream.Send(&sidecarpb.ReportsResponse{SidecarId: s.id}); err != nil {
		return err
	}
	for sent := 0; sent < max(a.ring.size/2, 1); {
		batch, wait := a.ring.read(cursor, reportBatch)
		if len(batch) == 0 {
			select {
			case <-wait:
				continue
			case <-stream.Context().Done():
				return status.FromContextError(stream.Context().Err()).Err()
			case <-s.drained:
				// Every record has its fate now, the last ones maybe since the look above.
				if batch, _ = a.ring.read(cursor, reportBatch); len(batch) == 0 {
					return nil
				}
			}
		}
		if err := stream.Send(&sidecarpb.ReportsResponse{Reports: batch, SidecarId: s.id}); err != nil {
			return err
		}
		cursor = batch[len(batch)-1].GetReportId() + 1
		sent += len(batch)
	}
	return nil
}
