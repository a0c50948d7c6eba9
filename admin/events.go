package admin

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxReaders is how many event streams are open at the same time.
	maxReaders = 16
	// readerPatience is how long a reader may take for one event, and a second more for each
	// slowReader bytes of it. It is dropped then, and its browser connects anew.
	readerPatience = 5 * time.Second
	slowReader     = 256 << 10
	// eventsEvery is the time between two events; large states come less often, so that a reader
	// costs at most eventBytes a second.
	eventsEvery = time.Second
	eventBytes  = 1 << 20
)

// events sends the state to everybody who looks, as it changes. It is read once for all of them,
// and only while there is one. A reader holds no queue: who was slow gets the newest state next.
type events struct {
	// read is the state as one line of JSON; nil where there is none now.
	read func() []byte

	mu      sync.Mutex
	readers int
	stop    context.CancelFunc // of the sampler, while there are readers
	ended   chan struct{}      // closed when the sampler has ended

	latest  atomic.Pointer[event]
	closing chan struct{}
	close   func()
	servers sync.Map // *http.Server whose shutdown ends the streams
}

// event is one state.
type event struct {
	data []byte
	next chan struct{} // closed when there is a newer one
}

func newEvents(read func() []byte) *events {
	e := &events{read: read, closing: make(chan struct{})}
	e.close = sync.OnceFunc(func() { close(e.closing) })
	e.latest.Store(&event{next: make(chan struct{})})
	return e
}

// ServeHTTP is a stream of server-sent events, until the reader goes, is too slow, or the server
// shuts down.
func (e *events) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out := http.NewResponseController(w)
	if err := out.SetWriteDeadline(time.Now().Add(readerPatience)); err != nil {
		http.Error(w, "event streams need write deadlines, which this server's middleware hides: "+err.Error(), http.StatusNotImplemented)
		return
	}
	if !e.enter() {
		w.Header().Set("Retry-After", "10")
		http.Error(w, fmt.Sprintf("%d pages are open already: close one", maxReaders), http.StatusServiceUnavailable)
		return
	}
	defer e.leave()
	e.endWith(r)
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	for at := e.latest.Load(); ; at = e.latest.Load() {
		if err := send(w, out, at.data); err != nil {
			return
		}
		select {
		case <-at.next:
		case <-r.Context().Done():
			return
		case <-e.closing:
			return
		}
	}
}

// send writes one event, within the reader's patience. The first of all may still be without data:
// then it is the line that makes a browser try again soon.
func send(w http.ResponseWriter, out *http.ResponseController, data []byte) error {
	patience := readerPatience + time.Duration(float64(len(data))/slowReader*float64(time.Second))
	if err := out.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	parts := [][]byte{[]byte("event: status\ndata: "), data, []byte("\n\n")} // all readers send the same bytes
	if data == nil {
		parts = [][]byte{[]byte("retry: 1000\n\n")}
	}
	for _, part := range parts {
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	return out.Flush()
}

func (e *events) enter() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.readers == maxReaders {
		return false
	}
	if e.readers++; e.readers > 1 {
		return true
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	e.stop, e.ended = cancel, ended
	go func() {
		defer close(ended)
		e.sample(ctx)
	}()
	return true
}

// leave ends the sampler with the last reader, and waits for it. The sampler takes no lock.
func (e *events) leave() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.readers--; e.readers == 0 {
		e.stop()
		<-e.ended
		e.latest.Store(&event{next: make(chan struct{})}) // who comes later is not shown what is old
	}
}

// sample reads the state until ctx ends.
func (e *events) sample(ctx context.Context) {
	for {
		data := e.read()
		if data != nil {
			former := e.latest.Swap(&event{data: data, next: make(chan struct{})})
			close(former.next)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause(len(data))):
		}
	}
}

// pause is the time after an event of this size.
func pause(size int) time.Duration { return max(eventsEvery, sendTime(size)) }

// sendTime is how long eventBytes a second take for so much.
func sendTime(size int) time.Duration {
	return time.Duration(float64(size) / eventBytes * float64(time.Second))
}

// endWith ends the streams when the request's server shuts down, which would wait for them.
func (e *events) endWith(r *http.Request) {
	server, ok := r.Context().Value(http.ServerContextKey).(*http.Server)
	if !ok {
		return
	}
	if _, known := e.servers.LoadOrStore(server, true); !known {
		server.RegisterOnShutdown(e.close)
	}
}
