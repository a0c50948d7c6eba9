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
	last sessionfile.Membership
	full sync.Once // said that something could not be written
}

// begin makes the file.
func (s *sessionFile) begin() error {
	if s.cfg.state == nil {
		return nil
	}
	self, _ := sessionfile.Find(int32(os.Getpid()))                                                        //nolint:gosec // a process id
	file, err := s.cfg.state.Create(sessionfile.Session{Process: self, UID: uint32(max(os.Geteuid(), 0))}) //nolint:gosec // a user id
	if err != nil {
		wrong := configerr.For(configName)
		wrong.Failed("StateDir", s.cfg.StateDir, err, stateRemedy)
		return wrong.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.file = file
	return nil
}

// end closes the file, which stays for a successor if there is anything left to do for it.
func (s *sessionFile) end(orderly bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.file.Close(orderly)
	s.file = nil
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
	if s.file == nil || *m == s.last {
		return
	}
	if err := s.file.SetMembership(*m); err != nil {
		s.fails(err)
		return
	}
	s.last = *m
}

// OnNewClient is called by the client before it begins to join, and so before anybody else has it.
func (s *sessionFile) OnNewClient(cl *kgo.Client) { s.client.Store(cl) }

// OnBrokerWrite is called by the client. A member that dies while it waits in a join has an id and
// no partitions yet: who knows that id can leave the group for it.
func (s *sessionFile) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, _ error) {
	if key != int16(kmsg.JoinGroup) && key != int16(kmsg.ConsumerGroupHeartbeat) {
		return
	}
	id, _ := s.client.Load().GroupMetadata()
	s.mu.Lock()
	known := id == "" || id == s.last.ID
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
