package outlet

import (
	"context"
	"encoding/binary"
	"net"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// listener hears what is seen on the connections of one client.
type listener struct {
	refused func(refusal)                 // nil: nobody asks
	retried func(topic string, err error) // nil: nobody asks
	closing func() bool                   // the client is being closed: it sends nothing again
	tries   *tries                        // nil: nobody asks
	names   *topicNames                   // nil: requests name their topics
}

// dialer makes connections whose produce responses are looked at before the client gets them.
func (l *listener) dialer(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &tap{Conn: conn, listener: l, asked: map[int32]asked{}}, nil
	}
}

// tap follows the frames of a connection to a broker. What it cannot follow it lets pass: then
// refusals are noticed later, by the promises.
type tap struct {
	net.Conn
	*listener

	mu    sync.Mutex
	asked map[int32]asked // requests that are followed, without a response, by correlation id
	known map[string]string

	// The reader's: kgo reads a connection from one goroutine at a time.
	head    [8]byte // size and correlation id
	headLen int
	left    int    // of the frame, behind the head
	body    []byte // of a response that is followed; nil: the frame is another's
	id      int32
	follow  bool // body is wanted
	lost    bool
}

// asked is a request whose response is looked at: a produce request, or one for metadata.
type asked struct {
	version  int16
	metadata bool
	batches  []sentBatch
}

const sizeKeyVersionID = 12 // bytes of a request

// Write notes requests. kgo writes a request in one piece.
func (t *tap) Write(b []byte) (int, error) {
	if len(b) >= sizeKeyVersionID && int(binary.BigEndian.Uint32(b)) == len(b)-4 {
		of := asked{version: int16(binary.BigEndian.Uint16(b[6:]))}
		switch key := kmsg.Key(binary.BigEndian.Uint16(b[4:])); {
		case key == kmsg.Produce:
			t.note(b, of)
		case key == kmsg.Metadata && t.names != nil:
			of.metadata = true
			t.note(b, of)
		}
	}
	n, err := t.Conn.Write(b)
	t.broken(err)
	return n, err
}

// follows tells that batches are to be known.
func (t *tap) follows() bool { return t.retried != nil || t.tries != nil }

// note has the response to a request followed.
func (t *tap) note(b []byte, of asked) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.follows() && !of.metadata {
		of.batches = t.batches(b, of.version)
	}
	t.asked[int32(binary.BigEndian.Uint32(b[8:]))] = of
}

// Read looks at what it returns first.
func (t *tap) Read(b []byte) (int, error) {
	n, err := t.Conn.Read(b)
	for seen := b[:n]; len(seen) > 0 && !t.lost; {
		seen = seen[t.take(seen):]
	}
	t.broken(err)
	return n, err
}

// Close tells what has no answer, too: kgo closes a connection of a broker that is replaced.
func (t *tap) Close() error {
	t.broken(net.ErrClosed)
	return t.Conn.Close()
}

// broken tells of the batches that get no answer any more, since the connection is broken.
func (t *tap) broken(err error) {
	if err == nil || !t.follows() || t.closing() {
		return
	}
	t.mu.Lock()
	of := t.asked
	t.asked = map[int32]asked{}
	t.mu.Unlock()
	for _, a := range of {
		for i := range a.batches {
			t.failed(&a.batches[i], err)
		}
	}
}

// take follows some of the bytes, and returns how many.
func (t *tap) take(b []byte) int {
	if t.headLen < len(t.head) {
		n := copy(t.head[t.headLen:], b)
		if t.headLen += n; t.headLen == len(t.head) {
			t.begin()
		}
		return n
	}
	n := min(len(b), t.left)
	if t.follow {
		t.body = append(t.body, b[:n]...)
	}
	if t.left -= n; t.left == 0 {
		t.end()
	}
	return n
}

// begin looks at a frame's head.
func (t *tap) begin() {
	size := int32(binary.BigEndian.Uint32(t.head[:]))
	id := int32(binary.BigEndian.Uint32(t.head[4:]))
	if size < 4 {
		t.lost = true // not a frame; kgo will close the connection
		return
	}
	t.left = int(size) - 4
	t.mu.Lock()
	t.follow = false
	if _, ok := t.asked[id]; ok {
		t.id = id
		if t.follow = t.left <= maxResponse; !t.follow {
			delete(t.asked, id)
		}
	}
	t.mu.Unlock()
	t.body = t.body[:0]
	if t.left == 0 {
		t.end()
	}
}

// maxResponse bounds what is kept of a response. One partition takes about 40 bytes.
const maxResponse = 8 << 20

func (t *tap) end() {
	t.headLen = 0
	if !t.follow {
		return
	}
	t.follow = false
	t.mu.Lock()
	of, open := t.asked[t.id]
	delete(t.asked, t.id) // not before: it may break within the answer
	t.mu.Unlock()
	if !open {
		return // it has just been told that there is no answer
	}
	if of.metadata {
		t.names.learn(t.body, of.version)
	} else {
		t.answered(of)
	}
	if cap(t.body) > 64<<10 {
		t.body = nil
	}
}
