package sidecar_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// A burst of emits without deadlines, of which most are refused, takes nothing for good (C3): as
// many may wait afterwards as before. Whoever is refused is told in the response, in the one shape
// of "full" (C9).
func TestABurstOfEmitsTakesNothingForGood(t *testing.T) {
	inBubble(t, func(c *sidecar.Config) { c.MaxBytes = 64 << 20 }, func(t *testing.T, b *bubble) {
		api := sidecarpb.NewSidecarClient(b.conn)
		emit := func(partition int32) *sidecarpb.Error {
			resp, err := api.Emit(context.Background(), &sidecarpb.EmitRequest{Record: &sidecarpb.Record{Topic: "out", Partition: &partition}})
			if err != nil {
				t.Errorf("an emit ended with the status %v", err)
			}
			return resp.GetError()
		}
		emit(1)
		var refused atomic.Int32
		waiting := func() int32 {
			stuck := b.stick(0)
			var wg sync.WaitGroup
			refused.Store(0)
			const all = 900
			for range all {
				wg.Go(func() {
					switch e := emit(0); {
					case e == nil:
					case e.GetCode() != "FULL" || !e.GetRetryable() || e.GetRetryAfterMs() <= 0:
						t.Errorf("refused with %v", e)
					default:
						refused.Add(1)
					}
				})
				synctest.Wait()
			}
			n := all - refused.Load()
			stuck.Remove()
			wg.Wait()
			return n
		}
		before := waiting()
		if before < 100 || before == 900 {
			t.Errorf("%d emits may wait at the same time: the limit is not reached", before)
		}
		for range 3 {
			var wg sync.WaitGroup
			for range 1000 {
				wg.Go(func() { emit(1) })
			}
			wg.Wait()
			synctest.Wait()
			if emits, _ := b.sc.OpenCalls(); emits != 0 || b.sc.UnreadEmits() != 0 {
				t.Fatalf("%d emits are counted as open, and %d as unread, when all are answered", emits, b.sc.UnreadEmits())
			}
		}
		if after := waiting(); after != before {
			t.Errorf("%d emits may wait after the burst, %d before", after, before)
		}
	})
}

// Calls of every kind whose message stops in its middle are few, do not last, and give their places
// back; what is honest gets through beside them (F2).
func TestUnfinishedCallsOfEveryKind(t *testing.T) {
	for _, method := range []string{sidecarpb.Sidecar_Emit_FullMethodName, sidecarpb.Sidecar_Reports_FullMethodName, sidecarpb.Sidecar_Status_FullMethodName,
		sidecarpb.Sidecar_DeliveryStream_FullMethodName, healthpb.Health_Check_FullMethodName, healthpb.Health_Watch_FullMethodName} {
		t.Run(method, func(t *testing.T) {
			inBubble(t, small, func(t *testing.T, b *bubble) {
				before := b.sc.Calls()
				ended := make(chan error, 100)
				for range cap(ended) {
					idle, err := b.conn.NewStream(context.Background(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method)
					if err != nil {
						t.Fatal(err)
					}
					go func() { ended <- idle.RecvMsg(new(wire.Message)) }()
				}
				for range cap(ended) {
					switch code := status.Code(<-ended); code {
					case codes.DeadlineExceeded, codes.ResourceExhausted, codes.OK: // OK: an Emit, whose response says it
					default:
						t.Errorf("a call without a message ended with %v", code)
					}
				}
				synctest.Wait()
				if after := b.sc.Calls(); after != before {
					t.Errorf("open, unread and reading calls by kind: %v, before %v", after, before)
				}
				if got := b.health(t, "liveness"); got != healthpb.HealthCheckResponse_SERVING {
					t.Errorf("health %v", got)
				}
				c := hello(t, b.conn, "s")
				c.units(plain("out", 3)...)
				c.reported(3)
			})
		})
	}
}

// A call that has no response to say it in ends with a status that has the same Error as its detail
// (C9).
func TestAFullSidecarHasOneShape(t *testing.T) {
	inBubble(t, func(c *sidecar.Config) { small(c); c.MaxSessions = 4 }, func(t *testing.T, b *bubble) {
		for _, id := range []string{"1", "2", "3", "4"} {
			hello(t, b.conn, id)
		}
		c := openStream(t, b.conn)
		c.send(helloMsg(&sidecarpb.Hello{Version: 1, App: "app", SessionId: "5"}))
		oneShape(t, c.until(func() bool { return c.welcome != nil }))

		api := sidecarpb.NewSidecarClient(b.conn)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		var full error
		for range 20 {
			stream, err := api.Reports(ctx, &sidecarpb.ReportsRequest{App: "app"})
			if err != nil {
				t.Fatal(err)
			}
			got := make(chan error, 1)
			go func() { _, err := stream.Recv(); got <- err }()
			synctest.Wait()
			select {
			case full = <-got:
			default:
			}
		}
		oneShape(t, full)
	})
}

func oneShape(t *testing.T, err error) {
	t.Helper()
	st := status.Convert(err) // OK, if it was not refused
	if st.Code() != codes.ResourceExhausted || len(st.Details()) != 1 {
		t.Fatalf("%v with details %v", err, st.Details())
	}
	if e, ok := st.Details()[0].(*sidecarpb.Error); !ok || e.GetCode() != "FULL" || !e.GetRetryable() || e.GetRetryAfterMs() <= 0 || e.GetRetryAfterMs() > 60_000 {
		t.Errorf("detail %v", st.Details()[0])
	}
}

// A drain counts what the receiver of a full queue still has (I11).
func TestADrainCountsTheBacklogOfAFullQueue(t *testing.T) {
	inBubble(t, func(c *sidecar.Config) { small(c); c.DrainTimeout = 3 * time.Second }, func(t *testing.T, b *bubble) {
		b.stick(0)
		c := hello(t, b.conn, "s")
		c.units(to(0, 200, 10)...)
		time.Sleep(time.Second)
		err := b.sc.Stop()
		if u, ok := errors.AsType[*sidecar.UndeliveredError](err); !ok || u.Records != 200 || u.Topics["out"] != 50 {
			t.Errorf("Run returned %v: 200 records were received, the queue takes 50", err)
		}
	})
}

// One app of two leaves a session, emits and pinned memory to the other (F5).
func TestOneAppLeavesSomeToTheOther(t *testing.T) {
	inBubble(t, func(c *sidecar.Config) {
		small(c)
		c.PartitionRecords, c.PartitionBytes = 100_000, 1<<30
		c.Apps = []sidecar.App{{Name: "app"}, {Name: "other"}}
	}, func(t *testing.T, b *bubble) {
		stuck := b.stick(0)
		defer stuck.Remove()
		for i := range 60 { // dead sessions pin memory
			c := hello(t, b.conn, fmt.Sprint("dead", i))
			c.units(to(0, 15, 10_000)...)
			time.Sleep(10 * time.Millisecond)
			c.cancel()
			time.Sleep(10 * time.Millisecond)
			synctest.Wait()
		}
		for _, id := range []string{"1", "2", "3"} {
			hello(t, b.conn, id)
		}
		c := openStream(t, b.conn)
		c.send(helloMsg(&sidecarpb.Hello{Version: 1, App: "app", SessionId: "4"}))
		oneShape(t, c.until(func() bool { return c.welcome != nil }))

		api := sidecarpb.NewSidecarClient(b.conn)
		emit := func(app string, partition int32) *sidecarpb.EmitResponse {
			resp, err := api.Emit(context.Background(), &sidecarpb.EmitRequest{App: app, Wait: sidecarpb.Wait_WAIT_QUEUED,
				Record: &sidecarpb.Record{Topic: "out", Partition: &partition, Value: make([]byte, 1000)}})
			if err != nil {
				t.Fatal(err)
			}
			return resp
		}
		n := 0
		for ; n < 10_000; n++ {
			if e := emit("app", 0).GetError(); e != nil {
				if e.GetCode() != "FULL" || e.GetRetryAfterMs() <= 0 {
					t.Errorf("emit %d: %v", n, e)
				}
				break
			}
		}
		if r := emit("other", 1); !r.GetSuccess() {
			t.Errorf("when one app has %d emits open, the other one's: %v", n, r.GetError())
		}
		other := openStream(t, b.conn)
		other.send(helloMsg(&sidecarpb.Hello{Version: 1, App: "other", SessionId: "o"}))
		if err := other.until(func() bool { return other.welcome != nil }); err != nil {
			t.Fatal(err)
		}
		other.units(to(1, 15, 1000)...)
		other.reported(15)
	})
}
