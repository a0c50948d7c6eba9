package bench

import (
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/childproc"
)

// meter measures its process: it is a hook of every Kafka client in it.
type meter struct {
	connections, peakConnections, produceRequests, requests, transactions atomic.Int64

	mu      sync.Mutex
	profile string
	file    *os.File // the profile that runs
	started bool
	began   time.Time
	start   Usage
	ended   time.Time // when the last commit was answered
	end     Usage
}

// begin starts the clock, once: the group has joined.
func (m *meter) begin() (first bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.started {
		return false, nil
	}
	m.started = true
	if m.profile != "" {
		if m.file, err = os.Create(m.profile); err != nil {
			return true, err
		}
		if err := pprof.StartCPUProfile(m.file); err != nil {
			return true, err
		}
	}
	runtime.GC() // what happened before is not ours
	m.start, m.began = m.usage(), time.Now()
	return true, nil
}

// finish closes the profile and tells what was used between begin and the last commit.
func (m *meter) finish() (time.Duration, Usage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.file != nil {
		pprof.StopCPUProfile()
		m.file.Close()
		m.file = nil
	}
	return m.ended.Sub(m.began), m.end.Since(m.start)
}

// usage is everything used so far.
func (m *meter) usage() Usage {
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	return Usage{
		CPU: childproc.OwnCPUTime(), Mallocs: mem.Mallocs, AllocBytes: mem.TotalAlloc, GCs: mem.NumGC,
		ProduceRequests: m.produceRequests.Load(), Requests: m.requests.Load(), Transactions: m.transactions.Load(),
		Connections: m.peakConnections.Load(), PeakRSS: childproc.OwnPeakResident(),
	}
}

// heldNow is what the process needs: garbage is collected first, and given back to the system.
func heldNow() *Held {
	for range 2 { // what is in pools goes with the second collection
		runtime.GC()
	}
	debug.FreeOSMemory()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	h := &Held{Live: int64(mem.HeapAlloc + mem.StackInuse), Threads: pprof.Lookup("threadcreate").Count()}
	h.RSS, _ = childproc.Resident(os.Getpid()) // 0: the system does not tell
	return h
}

// OnBrokerConnect implements kgo.HookBrokerConnect. What failed when it was open is told to
// OnBrokerDisconnect, too.
func (m *meter) OnBrokerConnect(_ kgo.BrokerMetadata, _ time.Duration, conn net.Conn, _ error) {
	if conn == nil {
		return
	}
	open := m.connections.Add(1)
	for peak := m.peakConnections.Load(); open > peak && !m.peakConnections.CompareAndSwap(peak, open); {
		peak = m.peakConnections.Load()
	}
}

// OnBrokerDisconnect implements kgo.HookBrokerDisconnect.
func (m *meter) OnBrokerDisconnect(kgo.BrokerMetadata, net.Conn) { m.connections.Add(-1) }

// OnBrokerE2E implements kgo.HookBrokerE2E. The answer to a commit is where the clock stops, if no
// other commit follows.
func (m *meter) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, e kgo.BrokerE2E) {
	m.requests.Add(1)
	switch {
	case key == int16(kmsg.EndTxn) && e.Err() == nil:
		m.transactions.Add(1)
	case key == int16(kmsg.Produce):
		m.produceRequests.Add(1)
	case key == int16(kmsg.OffsetCommit) && e.Err() == nil:
		m.committed()
	}
}

// committed stops the clock, for now.
func (m *meter) committed() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.started {
		m.end, m.ended = m.usage(), time.Now()
	}
}
