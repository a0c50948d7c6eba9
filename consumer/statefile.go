package consumer

import (
	"errors"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/configerr"
	"github.com/ackmark/ackmark/internal/sessionfile"
)

// openState opens StateDir.
func (cfg *Config) openState(wrong *configerr.List) {
	if cfg.StateDir == "" {
		return
	}
	dir, err := sessionfile.Open(cfg.StateDir, sessionfile.DefaultLimit)
	if err != nil {
		wrong.Failed("StateDir", cfg.StateDir, err, stateRemedy)
	}
	cfg.state = dir
}

const stateRemedy = "give a directory of this user's own (mode 0700) that outlives the process, or leave it empty"

// sessionFile is what this consumer would commit next, for the process that comes after it. Without
// a StateDir it does nothing.
type sessionFile struct {
	cfg     *Config
	log     *slog.Logger
	brokers *brokers
	number  uint64 // of the consumer
	client  atomic.Pointer[kgo.Client]

	mu   sync.Mutex
	file *sessionfile.File
	last sessionfile.Membership // that is written
	now  sessionfile.Membership // that is to be
	full sync.Once              // said that something could not be written
	// tried is when there was no room for a file; not zero: it is looked again.
	tried time.Time
}

// lookForRoom is how often it is looked whether there is room for a file, where there was none.
const lookForRoom = 10 * time.Second

// begin makes the file. A directory without room is no reason not to begin: it is as without one.
func (s *sessionFile) begin() error {
	if s.cfg.state == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.create(); err != nil {
		wrong := configerr.For(configName)
		wrong.Failed("StateDir", s.cfg.StateDir, err, stateRemedy)
		return wrong.Err()
	}
	return nil
}

// create is called with mu held.
func (s *sessionFile) create() error {
	self, _ := sessionfile.Find(int32(os.Getpid()))                                                        //nolint:gosec // a process id
	file, err := s.cfg.state.Create(sessionfile.Session{Process: self, UID: uint32(max(os.Geteuid(), 0))}) //nolint:gosec // a user id
	s.tried = time.Time{}
	switch {
	case err == nil:
		s.file = file
	case errors.Is(err, sessionfile.ErrFull):
		s.tried = time.Now()
		s.fails(err)
		return nil
	}
	return err
}

// look makes the file for which there was no room. What is assigned already is not in it: that
// would be done again since its last commit, but its group is left for it. mu is held.
func (s *sessionFile) look() {
	if s.tried.IsZero() || time.Since(s.tried) < lookForRoom {
		return
	}
	if err := s.create(); err != nil {
		s.fails(err)
	}
}

// end closes the file, which stays for a successor if there is anything left to do for it.
func (s *sessionFile) end(orderly bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.file.Close(orderly)
	s.file, s.tried = nil, time.Time{}
}

// joined writes the membership that assignments are entered under from now on. One whose member id
// is another than before was given up, or forgotten by the group: its assignments have ended.
func (s *sessionFile) joined(m *Membership) {
	s.write(&sessionfile.Membership{
		Group: m.Group, Consumer: s.number, ID: m.MemberID, Instance: m.InstanceID, Generation: m.Generation, Protocol: m.Protocol, Cluster: m.ClusterID,
	})
}

func (s *sessionFile) write(m *sessionfile.Membership) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = *m
	s.put()
}

// put writes the membership of now. mu is held.
func (s *sessionFile) put() {
	s.look()
	if s.file == nil || s.now == s.last {
		return
	}
	if err := s.file.SetMembership(s.now); err != nil {
		s.fails(err)
		return
	}
	s.last = s.now
}

// OnNewClient is called by the client before it begins to join, and so before anybody else has it.
func (s *sessionFile) OnNewClient(cl *kgo.Client) { s.client.Store(cl) }

// OnBrokerWrite is called by the client. A member that dies while it waits in a join has an id and
// no partitions yet: who knows that id can leave the group for it.
func (s *sessionFile) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, _ error) {
	if key != int16(kmsg.JoinGroup) && key != int16(kmsg.Heartbeat) && key != int16(kmsg.ConsumerGroupHeartbeat) {
		return
	}
	id, _ := s.client.Load().GroupMetadata()
	s.mu.Lock()
	known := id == "" || id == s.now.ID || key == int16(kmsg.Heartbeat)
	if known {
		s.put() // if there was no room for it
	}
	s.mu.Unlock()
	if !known {
		s.write(&sessionfile.Membership{Group: s.cfg.Group, Consumer: s.number, ID: id, Instance: s.cfg.InstanceID, Generation: -1, Protocol: s.brokers.protocol})
	}
}

// enter writes an assignment of a membership. Nil: it is not written down.
func (s *sessionFile) enter(m *Membership, a *Assignment) *sessionfile.Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil || m == nil {
		return nil
	}
	entry, err := s.file.Enter(&sessionfile.Assignment{
		Group: m.Group, Consumer: s.number, Member: m.MemberID, Epoch: a.Epoch, Topic: a.Topic, TopicID: a.TopicID, Partition: a.Partition, Start: a.Start,
	})
	if err != nil {
		s.fails(err)
	}
	return entry
}

// fails says, once, that the file does not have all.
func (s *sessionFile) fails(err error) {
	s.full.Do(func() {
		s.log.Warn("the session file could not be written: if this process is killed, some of what it did since its last commit is done again",
			"field", configName+".StateDir", "dir", s.cfg.StateDir, "err", err)
	})
}

var (
	_ kgo.HookNewClient   = (*sessionFile)(nil)
	_ kgo.HookBrokerWrite = (*sessionFile)(nil)
)

// nothingLeft tells that no successor has anything to do for this consumer: all that was done is
// committed and the group was left, or it was left in whatever state.
func nothingLeft(abandoned error, static, left bool) bool {
	_, uncommitted := errors.AsType[*UncommittedError](abandoned)
	return left && (!static || !uncommitted)
}
