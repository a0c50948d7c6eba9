package outlet

import (
	"context"
	"encoding/binary"
	"net"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// refusal is what a produce response says of a partition whose batch was refused.
type refusal struct {
	topic     string
	partition int32
	err       error
	places    []int // of the guilty records in the batch (KIP-467); nil: not named
	message   string
}

type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// tapped makes connections whose produce responses are looked at before the client gets them.
func tapped(dial dialFunc, refused func(refusal), retried func(topic string, err error), closing func() bool) dialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &tap{Conn: conn, refused: refused, retried: retried, closing: closing, asked: map[int32]asked{}}, nil
	}
}

// tap follows the frames of a connection to a broker. What it cannot follow it lets pass: then
// refusals are noticed later, by the promises.
type tap struct {
	net.Conn
	refused func(refusal)
	retried func(topic string, err error) // nil: nobody asks
	closing func() bool                   // the client is being closed: it sends nothing again

	mu    sync.Mutex
	asked map[int32]asked // produce requests without a response, by correlation id
	names map[string]string

	// The reader's: kgo reads a connection from one goroutine at a time.
	head    [8]byte // size and correlation id
	headLen int
	left    int    // of the frame, behind the head
	body    []byte // of a produce response; nil: the frame is another's
	version int16
	id      int32
	follow  bool // body is wanted
	lost    bool
}

// asked is a produce request.
type asked struct {
	version int16
	topics  []string // of each batch; where somebody asks for retries
}

const sizeKeyVersionID = 12 // bytes of a request

// Write notes produce requests. kgo writes a request in one piece.
func (t *tap) Write(b []byte) (int, error) {
	if len(b) >= sizeKeyVersionID && int(binary.BigEndian.Uint32(b)) == len(b)-4 && int16(binary.BigEndian.Uint16(b[4:])) == int16(kmsg.Produce) {
		t.mu.Lock()
		of := asked{version: int16(binary.BigEndian.Uint16(b[6:]))}
		if t.retried != nil {
			of.topics = t.topics(b, of.version)
		}
		t.asked[int32(binary.BigEndian.Uint32(b[8:]))] = of
		t.mu.Unlock()
	}
	n, err := t.Conn.Write(b)
	t.broken(err)
	return n, err
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

// topics are those of the batches of a produce request, header included. mu is held.
func (t *tap) topics(b []byte, version int16) (list []string) {
	req := kmsg.NewPtrProduceRequest()
	req.SetVersion(version)
	b = b[sizeKeyVersionID:]
	if len(b) < 2 {
		return nil
	}
	if client := int(int16(binary.BigEndian.Uint16(b))); client > 0 {
		b = b[min(len(b), 2+client):]
	} else {
		b = b[2:]
	}
	if req.IsFlexible() {
		if len(b) == 0 || b[0] != 0 { // tags of the header: kgo writes none
			return nil
		}
		b = b[1:]
	}
	if req.UnsafeReadFrom(b) != nil { // its names are within b
		return nil
	}
	for i := range req.Topics {
		name, ok := t.names[req.Topics[i].Topic]
		if !ok {
			if name = strings.Clone(req.Topics[i].Topic); t.names == nil {
				t.names = map[string]string{}
			}
			t.names[name] = name
		}
		for range req.Topics[i].Partitions {
			list = append(list, name)
		}
	}
	return list
}

// Close tells what has no answer, too: kgo closes a connection of a broker that is replaced.
func (t *tap) Close() error {
	t.broken(net.ErrClosed)
	return t.Conn.Close()
}

// broken tells of the batches that get no answer any more, since the connection is broken.
func (t *tap) broken(err error) {
	if err == nil || t.retried == nil || t.closing() {
		return
	}
	t.mu.Lock()
	of := t.asked
	t.asked = map[int32]asked{}
	t.mu.Unlock()
	for _, a := range of {
		for _, topic := range a.topics {
			t.retried(topic, err)
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
	if of, ok := t.asked[id]; ok {
		t.version, t.id = of.version, id
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
	delete(t.asked, t.id) // not before: it may break within the answer
	t.mu.Unlock()
	for _, r := range refusals(t.body, t.version) {
		switch {
		case isVerdict(r.err):
			t.refused(r)
		case t.retried != nil && kerr.IsRetriable(r.err):
			t.retried(r.topic, r.err)
		}
	}
	if cap(t.body) > 64<<10 {
		t.body = nil
	}
}

// refusals reads the errors out of a produce response, header included but for the correlation
// id.
func refusals(body []byte, version int16) (out []refusal) {
	resp := kmsg.NewPtrProduceResponse()
	resp.SetVersion(version)
	if resp.IsFlexible() {
		if len(body) == 0 || body[0] != 0 { // tags of the header: none are known
			return nil
		}
		body = body[1:]
	}
	if resp.ReadFrom(body) != nil {
		return nil
	}
	for i := range resp.Topics {
		t := &resp.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			err := kerr.ErrorForCode(p.ErrorCode)
			if err == nil {
				continue
			}
			r := refusal{topic: t.Topic, partition: p.Partition, err: err}
			for _, e := range p.ErrorRecords {
				r.places = append(r.places, int(e.RelativeOffset))
				if r.message == "" && e.ErrorMessage != nil {
					r.message = shortened(*e.ErrorMessage)
				}
			}
			if r.message == "" && p.ErrorMessage != nil {
				r.message = shortened(*p.ErrorMessage)
			}
			out = append(out, r)
		}
	}
	return out
}

func shortened(s string) string {
	const most = 300
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
