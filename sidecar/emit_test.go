package sidecar_test

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

func (b *bubble) queue(t *testing.T, partition int32) *sidecarpb.EmitResponse {
	t.Helper()
	resp, err := sidecarpb.NewSidecarClient(b.conn).Emit(context.Background(), &sidecarpb.EmitRequest{App: "app", Wait: sidecarpb.Wait_WAIT_QUEUED,
		Record: &sidecarpb.Record{Topic: "out", Partition: &partition, Value: []byte("v")}})
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// reports opens the stream from a cursor.
func (b *bubble) reports(t *testing.T, after uint64) func() (*sidecarpb.ReportsResponse, error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	stream, err := sidecarpb.NewSidecarClient(b.conn).Reports(ctx, &sidecarpb.ReportsRequest{App: "app", AfterId: after})
	if err != nil {
		t.Fatal(err)
	}
	first, err := stream.Recv() // at once: whose reports these are
	if err != nil || first.GetSidecarId() == "" || len(first.GetReports()) != 0 {
		t.Fatalf("the first message is %v, %v", first, err)
	}
	return stream.Recv
}

func TestQueuedEmitsAreReportedFromACursor(t *testing.T) {
	inBubble(t, func(c *sidecar.Config) { small(c); c.ReportRing = 8 }, func(t *testing.T, b *bubble) {
		stuck := b.stick(0)
		var ids []uint64
		for i := range 8 {
			resp := b.queue(t, int32(i%2)) // those to partition 0 do not end yet
			if !resp.GetSuccess() || (i > 0 && resp.GetReportId() <= ids[i-1]) {
				t.Fatalf("emit %d: %v", i, resp)
			}
			ids = append(ids, resp.GetReportId())
		}
		// The ring is full: refused, not dropped.
		if e := b.queue(t, 1).GetError(); e.GetCode() != wire.CodeFull || !e.GetRetryable() || e.GetRetryAfterMs() <= 0 {
			t.Fatalf("ninth: %v", e)
		}
		// Reports come in order: the first one is not known, so nothing comes, whatever else is
		// known.
		first := b.reports(t, 0)
		got := make(chan *sidecarpb.ReportsResponse, 1)
		go func() {
			r, err := first()
			if err != nil {
				t.Error(err)
			}
			got <- r
		}()
		time.Sleep(time.Second)
		synctest.Wait()
		if len(got) != 0 {
			t.Fatalf("reported before the first one ended: %v", <-got)
		}
		stuck.Remove()
		var seen []uint64
		for r := <-got; ; {
			for _, x := range r.GetReports() {
				seen = append(seen, x.GetReportId())
				if !x.GetSuccess() || x.GetTopic() != "out" {
					t.Errorf("report %v", x)
				}
			}
			var err error
			if r, err = first(); errors.Is(err, io.EOF) {
				break // half of the ring was sent: a cursor is wanted
			} else if err != nil {
				t.Fatal(err)
			}
		}
		for i, id := range seen {
			if id != ids[i] {
				t.Fatalf("reports %v of %v", seen, ids)
			}
		}
		// The same again without a cursor; and from the cursor the rest, with room for new ones.
		if r, err := b.reports(t, 0)(); err != nil || r.GetReports()[0].GetReportId() != ids[0] {
			t.Errorf("again from 0: %v, %v", r, err)
		}
		cursor := seen[len(seen)-1]
		if cursor != ids[7] {
			r, err := b.reports(t, cursor)()
			if err != nil || r.GetReports()[0].GetReportId() != cursor+1 {
				t.Errorf("from %d: %v, %v", cursor, r, err)
			}
		} else {
			b.reports(t, cursor)
		}
		synctest.Wait()
		if resp := b.queue(t, 1); !resp.GetSuccess() {
			t.Errorf("there is room again: %v", resp)
		}
	})
}

func TestMisusedCalls(t *testing.T) {
	inBubble(t, func(c *sidecar.Config) {
		c.Apps = []sidecar.App{{Name: "app", Topics: []string{"out"}, Token: "secret"}}
	}, func(t *testing.T, b *bubble) {
		api := sidecarpb.NewSidecarClient(b.conn)
		rec := &sidecarpb.Record{Topic: "out"}
		for name, x := range map[string]struct {
			req  *sidecarpb.EmitRequest
			code codes.Code
		}{
			"no record":      {&sidecarpb.EmitRequest{App: "app", Token: "secret"}, codes.InvalidArgument},
			"unknown wait":   {&sidecarpb.EmitRequest{App: "app", Token: "secret", Record: rec, Wait: 9}, codes.InvalidArgument},
			"queued, no app": {&sidecarpb.EmitRequest{Record: rec, Wait: sidecarpb.Wait_WAIT_QUEUED}, codes.InvalidArgument},
			"unknown app":    {&sidecarpb.EmitRequest{App: "other", Record: rec}, codes.PermissionDenied},
			"wrong token":    {&sidecarpb.EmitRequest{App: "app", Token: "guess", Record: rec}, codes.PermissionDenied},
		} {
			if _, err := api.Emit(context.Background(), x.req); status.Code(err) != x.code {
				t.Errorf("%s: %v, want %v", name, err, x.code)
			}
		}
		for code, rec := range map[string]*sidecarpb.Record{
			wire.CodeInvalidRecord:       {Topic: "out", Partition: new(int32(-2))},
			wire.CodeTopicNotAllowed:     {Topic: "one"},
			"UNKNOWN_TOPIC_OR_PARTITION": {Topic: "out", Partition: new(int32(44))},
			"MESSAGE_TOO_LARGE":          {Topic: "out", Value: make([]byte, 4_150_000)},
		} {
			resp, err := api.Emit(context.Background(), &sidecarpb.EmitRequest{App: "app", Token: "secret", Record: rec})
			if err != nil || resp.GetSuccess() || resp.GetError().GetCode() != code || resp.GetError().GetMessage() == "" {
				t.Errorf("want %s: %v, %v", code, resp, err)
			}
		}
		large := &sidecarpb.Record{Topic: "out", Value: make([]byte, 3_200_000)} // compresses to a few bytes: what Kafka would take is delivered (A8)
		if resp, err := api.Emit(context.Background(), &sidecarpb.EmitRequest{App: "app", Token: "secret", Record: large}); err != nil || !resp.GetSuccess() {
			t.Errorf("3.2 MB that compress: %v, %v", resp, err)
		}
		for app, code := range map[string]codes.Code{"": codes.InvalidArgument, "other": codes.PermissionDenied} {
			stream, err := api.Reports(context.Background(), &sidecarpb.ReportsRequest{App: app})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); status.Code(err) != code {
				t.Errorf("Reports for app %q: %v", app, err)
			}
		}
	})
}

// An emit whose caller has gone away stays on its way.
func TestAnImpatientEmitIsNotTakenBack(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, b *bubble) {
		stuck := b.stick(0)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := sidecarpb.NewSidecarClient(b.conn).Emit(ctx, &sidecarpb.EmitRequest{Record: &sidecarpb.Record{Topic: "out", Partition: new(int32(0))}})
		if status.Code(err) != codes.DeadlineExceeded {
			t.Fatal(err)
		}
		stuck.Remove()
		if err := b.sc.Stop(); err != nil {
			t.Fatal(err)
		}
		if hw := b.kafka.PartitionInfo("out", 0).HighWatermark; hw != 1 {
			t.Errorf("%d records in Kafka", hw)
		}
	})
}

// The first record of a topic is being asked for; its caller gives up. Those that waited for it
// must not wait for ever.
func TestAnImpatientFirstEmitBlocksNobody(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, b *bubble) {
		var answers atomic.Bool
		b.kafka.ControlKey(int16(kmsg.DescribeConfigs), func(kmsg.Request) (kmsg.Response, error, bool) {
			b.kafka.KeepControl()
			return nil, errors.New("the connection is cut"), !answers.Load()
		})
		api := sidecarpb.NewSidecarClient(b.conn)
		emit := func(d time.Duration) (*sidecarpb.EmitResponse, error) {
			ctx, cancel := context.WithTimeout(context.Background(), d)
			defer cancel()
			return api.Emit(ctx, &sidecarpb.EmitRequest{Record: &sidecarpb.Record{Topic: "out"}})
		}
		second := make(chan error, 1)
		go func() {
			time.Sleep(time.Second)
			_, err := emit(time.Hour)
			second <- err
		}()
		if _, err := emit(10 * time.Second); status.Code(err) != codes.DeadlineExceeded {
			t.Fatal(err)
		}
		answers.Store(true)
		if err := <-second; err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if emits, streams := b.sc.OpenCalls(); emits != 0 || streams != 0 {
			t.Errorf("%d emits and %d streams are counted as open", emits, streams)
		}
	})
}

// Calls whose message does not come hold few readers, and not for long: whoever has something to
// send gets through (S9).
func TestEmitsThatSendNothingHoldNobodyUp(t *testing.T) {
	inBubble(t, small, func(t *testing.T, b *bubble) {
		began := time.Now()
		desc := &grpc.StreamDesc{ClientStreams: true}
		ended := make(chan error, 10)
		for range 10 {
			idle, err := b.conn.NewStream(context.Background(), desc, sidecarpb.Sidecar_Emit_FullMethodName)
			if err != nil {
				t.Fatal(err)
			}
			go func() { ended <- idle.RecvMsg(new(sidecarpb.EmitResponse)) }()
		}
		time.Sleep(time.Second)
		if n := b.sc.UnreadEmits(); n != 10 {
			t.Errorf("%d calls are counted as unread", n)
		}
		if resp := b.queue(t, 1); !resp.GetSuccess() {
			t.Errorf("an emit beside them: %v", resp)
		}
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("it waited %v", took)
		}
		for range 10 {
			if code := status.Code(<-ended); code != codes.DeadlineExceeded && code != codes.ResourceExhausted {
				t.Errorf("a call without a message ended with %v", code)
			}
		}
		synctest.Wait()
		if emits, _ := b.sc.OpenCalls(); emits != 0 || b.sc.UnreadEmits() != 0 {
			t.Errorf("%d emits are counted as open, %d as unread", emits, b.sc.UnreadEmits())
		}
	})
}

// A queued emit that waits for its topic is with the sidecar already: a drain that does not get it
// out says so.
func TestADrainCountsEmitsThatWaitForTheirTopic(t *testing.T) {
	inBubble(t, func(c *sidecar.Config) { c.DrainTimeout = 3 * time.Second }, func(t *testing.T, b *bubble) {
		b.kafka.ControlKey(int16(kmsg.DescribeConfigs), func(kmsg.Request) (kmsg.Response, error, bool) {
			b.kafka.KeepControl()
			return nil, errors.New("the connection is cut"), true
		})
		answered := make(chan error, 1)
		go func() {
			_, err := sidecarpb.NewSidecarClient(b.conn).Emit(context.Background(), &sidecarpb.EmitRequest{App: "app", Wait: sidecarpb.Wait_WAIT_QUEUED,
				Record: &sidecarpb.Record{Topic: "out"}})
			answered <- err
		}()
		time.Sleep(time.Second)
		err := b.sc.Stop()
		if u, ok := errors.AsType[*sidecar.UndeliveredError](err); !ok || u.Emits != 1 || u.Records != 1 {
			t.Errorf("Run returned %v", err)
		}
		if err := <-answered; err == nil {
			t.Error("the emit was answered as queued, and is gone")
		}
	})
}
