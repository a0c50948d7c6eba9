package producer_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/producer/producertest"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// asking are the calls that wait for a sidecar, and what each of them returned.
type asking struct {
	calls sync.WaitGroup
	mu    sync.Mutex
	got   map[string]error
	at    map[string]time.Time
}

// ask makes all calls that wait while there is no sidecar, for space or for an answer.
func ask(t *testing.T, p producer.Producer) *asking {
	a := &asking{got: make(map[string]error), at: make(map[string]time.Time)}
	for name, call := range map[string]func() error{
		"Deliver": func() error {
			return p.Deliver(context.Background(), []producer.Unit{{Outputs: []producer.Record{record1("k", "waits")}}}, producertest.NewRecorder(1))
		},
		"Emit": func() error {
			_, err := p.Emit(context.Background(), record1("k", "waits"))
			return err
		},
		"Inherit": func() error {
			heir, ok := p.(producer.Heir)
			if !ok {
				t.Error("the client is no Heir")
				return nil
			}
			return heir.Inherit(context.Background(), "g", "i")
		},
		"Check": func() error { return p.Check(context.Background()) },
	} {
		a.calls.Go(func() {
			err := call()
			a.mu.Lock()
			defer a.mu.Unlock()
			a.got[name], a.at[name] = err, time.Now()
		})
	}
	return a
}

// Close while the first connection is being made: everybody who waits learns of it, one Close waits
// for the end, the other does nothing, and nothing is left over.
func TestCloseDuringTheFirstConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialing := make(chan struct{}, 1)
		p := producer.DialConfig{Target: "nobody", App: "test", MaxBufferedRecords: 1, CloseTimeout: 2 * time.Second, Logger: slog.New(slog.DiscardHandler),
			Dialer: func(ctx context.Context) (net.Conn, error) {
				select {
				case dialing <- struct{}{}:
				default:
				}
				<-ctx.Done()
				return nil, ctx.Err()
			}}.New()
		taken := deliver(t, p, producer.Unit{Outputs: []producer.Record{record1("k", "taken")}})
		a := ask(t, p)
		<-dialing
		synctest.Wait()
		begun := time.Now()
		closes := make(chan error, 2)
		for range 2 {
			go func() { closes <- p.Close() }()
		}
		if err := <-closes; err != nil || time.Since(begun) != 0 {
			t.Errorf("the Close that came second: %v after %v", err, time.Since(begun))
		}
		if err := <-closes; !errors.Is(err, producer.ErrClosed) || time.Since(begun) != 2*time.Second {
			t.Errorf("the Close that came first: %v after %v, want the unit that was taken counted after CloseTimeout", err, time.Since(begun))
		}
		wait(t, taken)
		if f := taken.Fates()[0]; f.Err == nil || f.Err.Code != producer.CodeClosed {
			t.Errorf("the unit that was taken: %+v", f)
		}
		a.calls.Wait()
		for name, err := range a.got {
			if !errors.Is(err, producer.ErrClosed) {
				t.Errorf("%s returned %v", name, err)
			}
			if space := name == "Deliver" || name == "Emit"; space && !a.at[name].Equal(begun) {
				t.Errorf("%s waited for space that Close does not give, for %v", name, a.at[name].Sub(begun))
			}
		}
		if left := producer.LeftOver(p); left != "" {
			t.Error(left)
		}
	})
}

// A refusal for good while calls wait for space, and one that comes when Close has begun: what was
// taken fails with the refusal, and who waits, or comes later, hears it.
func TestARefusalEndsEveryWait(t *testing.T) {
	for name, closing := range map[string]bool{"open": false, "closing": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newScript(t)
				answer := make(chan struct{})
				x.hello = func(*sidecarpb.Hello) (*sidecarpb.Welcome, error) {
					<-answer
					return nil, status.Error(codes.PermissionDenied, "APP_NOT_ALLOWED: who is that")
				}
				x.start()
				defer x.stop()
				cfg := x.config()
				cfg.MaxBufferedRecords, cfg.CloseTimeout, cfg.Logger = 1, time.Minute, slog.New(slog.DiscardHandler)
				p := cfg.New()
				taken := deliver(t, p, producer.Unit{Outputs: []producer.Record{record1("k", "taken")}})
				a := ask(t, p)
				synctest.Wait()
				closed := make(chan error, 1)
				if closing {
					go func() { closed <- p.Close() }()
					synctest.Wait()
				}
				begun := time.Now()
				close(answer)
				wait(t, taken)
				if f := taken.Fates()[0]; f.Err == nil || f.Err.Code != producer.CodeUnauthorized {
					t.Errorf("the unit that was taken: %+v", f)
				}
				a.calls.Wait()
				if took := time.Since(begun); took != 0 {
					t.Errorf("who waited heard it after %v", took)
				}
				for name, err := range a.got {
					e, _ := errors.AsType[*producer.Error](err)
					switch {
					case closing && !errors.Is(err, producer.ErrClosed) && name != "Inherit",
						!closing && name != "Inherit" && (e == nil || e.Code != producer.CodeUnauthorized):
						t.Errorf("%s returned %v", name, err)
					}
				}
				if !closing {
					late := p.Deliver(t.Context(), []producer.Unit{{}}, producertest.NewRecorder(1))
					if e, ok := errors.AsType[*producer.Error](late); !ok || e.Code != producer.CodeUnauthorized {
						t.Errorf("Deliver after the refusal: %v", late)
					}
					closed <- p.Close()
				}
				if err := <-closed; err != nil || time.Since(begun) != 0 {
					t.Errorf("Close: %v after %v", err, time.Since(begun))
				}
				if left := producer.LeftOver(p); left != "" {
					t.Error(left)
				}
			})
		})
	}
}
