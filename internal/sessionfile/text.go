package sessionfile

import (
	"encoding/binary"
	"fmt"

	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/internal/groupcommit"
)

// Session is whose file it is. It does not change.
type Session struct {
	App, ID, Client string
	// Process is the one that is in the groups: of the sidecar's client, or the writer itself.
	Process Process
	// UID and Certificate are what the process was known by.
	UID         uint32
	Certificate string
	// Local: UID and Process are what the kernel said of a unix socket's other end.
	Local bool
}

// Process is a process of this boot. A PID of 0: it is not known.
type Process struct {
	PID   int32
	Start uint64 // when it started, in the kernel's ticks since the boot
	Inode uint64 // of its pidfd; 0: the kernel has none of its own for each process
}

// Membership is what a group knows a consumer of the process by.
type Membership struct {
	Group      string
	Consumer   uint64 // tells the consumers of a process apart
	ID         string // "": it has left
	Instance   string
	Generation int32
	Protocol   groupcommit.Protocol
	Cluster    string // that the group is in; "": not known
}

func (m *Membership) key() memberKey { return memberKey{m.Group, m.Consumer} }

type memberKey struct {
	group    string
	consumer uint64
}

// Assignment is a partition, assigned to a membership.
type Assignment struct {
	Group    string
	Consumer uint64
	// Member is the id that the membership had: to another one it does not belong.
	Member    string
	Epoch     uint64
	Topic     string
	TopicID   [16]byte
	Partition int32
	Start     int64

	// Mark and Done are where it stands, as it is read.
	Mark int64
	Done []donemeta.Run
}

// header is what a file begins with.
type header struct {
	Boot    string // id of the boot
	PIDs    string // namespace of process ids that Process.PID belongs to
	Begun   uint64 // in nanoseconds since the boot
	Session Session
}

type text []byte

func (t *text) number(n uint64) { *t = binary.AppendUvarint(*t, n) }
func (t *text) string(s string) {
	t.number(uint64(len(s)))
	*t = append(*t, s...)
}

// reading takes apart what text has put together. The first that does not fit makes all that
// follows empty, and bad.
type reading struct {
	rest []byte
	bad  bool
}

func (r *reading) number() uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *reading) string() string {
	n := r.number()
	if n > uint64(len(r.rest)) {
		r.bad, r.rest = true, nil
		return ""
	}
	s := string(r.rest[:n])
	r.rest = r.rest[n:]
	return s
}

func (r *reading) whole() bool { return !r.bad && len(r.rest) == 0 }

func (h *header) append(t text) text {
	s := &h.Session
	for _, word := range []string{h.Boot, h.PIDs, s.App, s.ID, s.Client, s.Certificate} {
		t.string(word)
	}
	for _, n := range []uint64{h.Begun, uint64(uint32(s.Process.PID)), s.Process.Start, s.Process.Inode, uint64(s.UID)} {
		t.number(n)
	}
	if s.Local {
		t.number(1)
	}
	return t
}

func (h *header) parse(b []byte) bool {
	r, s := reading{rest: b}, &h.Session
	for _, word := range []*string{&h.Boot, &h.PIDs, &s.App, &s.ID, &s.Client, &s.Certificate} {
		*word = r.string()
	}
	h.Begun = r.number()
	s.Process = Process{int32(r.number()), r.number(), r.number()} //nolint:gosec // as it was written
	s.UID = uint32(r.number())                                     //nolint:gosec // the same
	s.Local = len(r.rest) > 0 && r.number() == 1
	return r.whole()
}

func (m *Membership) append(t text) text {
	for _, word := range []string{m.Group, m.ID, m.Instance, m.Cluster} {
		t.string(word)
	}
	t.number(m.Consumer)
	t.number(uint64(uint32(m.Generation)))
	t.number(uint64(m.Protocol))
	return t
}

func (m *Membership) parse(b []byte, use uint64) bool {
	r := reading{rest: b}
	for _, word := range []*string{&m.Group, &m.ID, &m.Instance, &m.Cluster} {
		*word = r.string()
	}
	m.Consumer, m.Generation = r.number(), int32(r.number()) //nolint:gosec // as it was written
	m.Protocol = groupcommit.Protocol(r.number())            //nolint:gosec // the same
	same := r.number() == use
	return r.whole() && same
}

// append writes what does not change, with the number of the use of its cell.
func (a *Assignment) append(t text, use uint64) text {
	for _, word := range []string{a.Group, a.Member, a.Topic, string(a.TopicID[:])} {
		t.string(word)
	}
	for _, n := range []uint64{use, a.Consumer, a.Epoch, uint64(uint32(a.Partition)), uint64(a.Start)} {
		t.number(n)
	}
	return t
}

func (a *Assignment) parse(b []byte, use uint64) bool {
	r := reading{rest: b}
	a.Group, a.Member, a.Topic = r.string(), r.string(), r.string()
	id := r.string()
	copy(a.TopicID[:], id)
	same := r.number() == use
	a.Consumer, a.Epoch = r.number(), r.number()
	a.Partition, a.Start = int32(r.number()), int64(r.number()) //nolint:gosec // as it was written
	return r.whole() && same && len(id) == len(a.TopicID)
}

// fits tells whether an assignment's names have room in a cell. Kafka takes names of topics up to
// 249 characters; groups and member ids are nearly always shorter than 100.
func (a *Assignment) fits() error {
	if n := len(a.append(nil, ^uint64(0))); n > maxText {
		return fmt.Errorf("the names of %s partition %d in group %q take %d bytes of at most %d", a.Topic, a.Partition, a.Group, n, maxText)
	}
	return nil
}
