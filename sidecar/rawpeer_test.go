package sidecar_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// rawPeer speaks HTTP/2 by hand: it stops in the middle of messages, reads nothing, and sends the
// same few buffers again and again, so that what a test's heap grows by is the sidecar's.
type rawPeer struct {
	t      testing.TB
	conn   net.Conn
	framer *http2.Framer

	mu      sync.Mutex
	moved   *sync.Cond // a window grew, a stream ended, the connection broke
	next    uint32
	conns   int64
	windows map[uint32]int64
	initial int64
	ended   map[uint32]bool
	status  map[uint32]string // grpc-status of streams that ended
	broken  bool
	writing sync.Mutex
	opening sync.Mutex
}

func dialRaw(t testing.TB, target string) *rawPeer {
	t.Helper()
	conn, err := net.Dial("unix", strings.TrimPrefix(target, "unix://"))
	if err != nil {
		t.Fatal(err)
	}
	p := &rawPeer{t: t, conn: conn, framer: http2.NewFramer(conn, conn), next: 1, conns: 65535, initial: 65535,
		windows: make(map[uint32]int64), ended: make(map[uint32]bool), status: make(map[uint32]string)}
	p.moved = sync.NewCond(&p.mu)
	p.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err) // one connection too many may be closed before
	}
	p.write(func() error { return p.framer.WriteSettings() })
	reading := make(chan struct{})
	go func() {
		defer close(reading)
		p.read()
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-reading
	})
	return p
}

func (p *rawPeer) write(f func() error) {
	p.writing.Lock()
	defer p.writing.Unlock()
	_ = f() // a connection that the sidecar closed is seen by read
}

func (p *rawPeer) read() {
	defer func() {
		p.mu.Lock()
		p.broken = true
		p.moved.Broadcast()
		p.mu.Unlock()
	}()
	for {
		f, err := p.framer.ReadFrame()
		if err != nil {
			return
		}
		p.mu.Lock()
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if v, ok := f.Value(http2.SettingInitialWindowSize); ok {
				for id := range p.windows {
					p.windows[id] += int64(v) - p.initial
				}
				p.initial = int64(v)
			}
			if !f.IsAck() {
				go p.write(p.framer.WriteSettingsAck)
			}
		case *http2.WindowUpdateFrame:
			if f.StreamID == 0 {
				p.conns += int64(f.Increment)
			} else {
				p.windows[f.StreamID] += int64(f.Increment)
			}
		case *http2.PingFrame:
			if data := f.Data; !f.IsAck() {
				go p.write(func() error { return p.framer.WritePing(true, data) })
			}
		case *http2.MetaHeadersFrame:
			for _, h := range f.Fields {
				if h.Name == "grpc-status" {
					p.status[f.StreamID] = h.Value
				}
			}
			if f.StreamEnded() {
				p.ended[f.StreamID] = true
			}
		case *http2.RSTStreamFrame:
			p.ended[f.StreamID] = true
		}
		p.moved.Broadcast()
		p.mu.Unlock()
	}
}

// call opens a call and returns its stream.
func (p *rawPeer) call(method string, extra ...hpack.HeaderField) uint32 {
	p.opening.Lock() // the numbers of streams increase on the wire
	defer p.opening.Unlock()
	p.mu.Lock()
	id := p.next
	p.next += 2
	p.windows[id] = p.initial
	p.mu.Unlock()
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, h := range append([]hpack.HeaderField{{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: method},
		{Name: ":authority", Value: "x"}, {Name: "content-type", Value: "application/grpc"}, {Name: "te", Value: "trailers"}}, extra...) {
		if err := enc.WriteField(h); err != nil {
			p.t.Fatal(err)
		}
	}
	p.write(func() error {
		return p.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true})
	})
	return id
}

// patience is how long a peer waits for a window: one that gets none has sent all that the sidecar
// takes.
const patience = time.Second

var errEnded = errors.New("the stream or the connection is over")

// data sends bytes as the windows allow.
func (p *rawPeer) data(id uint32, b []byte) error {
	late := time.AfterFunc(patience, p.moved.Broadcast)
	defer late.Stop()
	end := time.Now().Add(patience)
	for len(b) > 0 {
		p.mu.Lock()
		for !p.broken && !p.ended[id] && min(p.conns, p.windows[id]) <= 0 && time.Now().Before(end) {
			p.moved.Wait()
		}
		n := min(int64(len(b)), p.conns, p.windows[id], 16<<10)
		if p.broken || p.ended[id] || n <= 0 {
			p.mu.Unlock()
			return errEnded
		}
		p.conns -= n
		p.windows[id] -= n
		p.mu.Unlock()
		p.write(func() error { return p.framer.WriteData(id, false, b[:n]) })
		b = b[n:]
	}
	return nil
}

// message sends the gRPC message that consists of these parts, but for the last so many bytes.
func (p *rawPeer) message(id uint32, missing int, parts ...[]byte) error {
	size := 0
	for _, b := range parts {
		size += len(b)
	}
	head := binary.BigEndian.AppendUint32([]byte{0}, uint32(size))
	if err := p.data(id, head); err != nil {
		return err
	}
	left := size - missing
	for _, b := range parts {
		b = b[:min(len(b), left)]
		left -= len(b)
		if err := p.data(id, b); err != nil {
			return err
		}
	}
	return nil
}

// over waits until the stream has ended, and returns its gRPC status.
func (p *rawPeer) over(id uint32) (status string, ended bool) {
	late := time.AfterFunc(patience, p.moved.Broadcast)
	defer late.Stop()
	end := time.Now().Add(patience)
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.broken && !p.ended[id] && time.Now().Before(end) {
		p.moved.Wait()
	}
	return p.status[id], p.broken || p.ended[id]
}
