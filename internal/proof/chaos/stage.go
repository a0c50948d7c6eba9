package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/childproc"
	"github.com/ackmark/ackmark/internal/lastwill"
	"github.com/ackmark/ackmark/internal/proof/netfault"
	"github.com/ackmark/ackmark/internal/proof/verify/feed"
	"github.com/ackmark/ackmark/internal/proof/verify/reader"
)

const (
	partitions = 6
	apps       = 2
	// settle bounds every wait for the pod: a session timeout of 45 s and a rebalance fit.
	settle = 100 * time.Second
)

// stage is one row while it runs: topics, a group, a pod, and who watches them.
type stage struct {
	*Env
	row                       *Row
	ctx                       context.Context
	fail                      context.CancelCauseFunc
	dir                       string
	input, output, dead, name string

	brokersProxy map[string]*netfault.Proxy // by process name
	socketProxy  *netfault.Proxy
	procs        processes
	runs         int
	tail         *tail
	feed         *feed.Feed
	watch        *watch
	transactions transactions
	rng          *randSource
	tasks        sync.WaitGroup

	res Result
}

func (s *stage) socket() string { return filepath.Join(s.dir, "sidecar.sock") }

// open makes the topics and starts the pod, the feed and the watchers.
func (s *stage) open() error {
	conf := map[string]*string{}
	if _, err := s.admin.CreateTopics(s.ctx, partitions, s.replicas(), conf, s.input, s.output, s.dead); err != nil {
		return fmt.Errorf("create the topics: %w", err)
	}
	if err := s.await("the topics", func() error { return s.topicsReady() }); err != nil {
		return err
	}
	err := s.shareSession()
	if err != nil {
		return err
	}
	if s.tail, err = newTail(s.opts, s.input, s.output, s.dead); err != nil {
		return err
	}
	if s.row.SocketProxy {
		if s.socketProxy, err = netfault.Listen("unix", filepath.Join(s.dir, "proxy.sock"), "unix:"+s.socket()); err != nil {
			return err
		}
	}
	s.startSidecar()
	for i := range s.row.apps() {
		s.startApp(fmt.Sprintf("app-%d", i+1))
	}
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	if err := s.await("the group", func() error { return s.members(s.row.apps()) }); err != nil {
		return err
	}
	s.feed = feed.Start(s.client, s.input, s.seed, s.rate())
	s.watch = newWatch(s)
	s.tasks.Go(s.watch.run)
	if s.ExactlyOnce {
		s.tasks.Go(func() { s.transactions.run(s) })
	}
	return s.await("the first outputs", func() error {
		if _, handled := s.tail.counts(); handled < 500 {
			return fmt.Errorf("%d outputs", handled)
		}
		return nil
	})
}

func (s *stage) rate() int {
	if s.row.Rate > 0 {
		return s.row.Rate
	}
	return s.Rate
}

func (s *stage) replicas() int16 {
	if s.Brokers == nil {
		return -1
	}
	return 3
}

func (s *stage) topicsReady() error {
	details, err := s.admin.ListTopics(s.ctx, s.input, s.output, s.dead)
	if err != nil {
		return err
	}
	for _, t := range []string{s.input, s.output, s.dead} {
		d := details[t]
		if d.Err != nil || len(d.Partitions) == 0 {
			return fmt.Errorf("topic %s: %w", t, errors.Join(d.Err, errNotYet))
		}
		for _, p := range d.Partitions {
			if p.Err != nil || p.Leader < 0 {
				return errNotYet
			}
		}
	}
	return nil
}

var errNotYet = errors.New("not there yet")

func (s *stage) members(n int) error {
	g, err := lastwill.On(s.ctx, s.client, "").Describe(s.ctx, s.name)
	if err != nil {
		return err
	}
	if g.State != "Stable" || len(g.Members) != n {
		return fmt.Errorf("group %s is %s with %d members, want %d", s.name, g.State, len(g.Members), n)
	}
	return nil
}

func (s *stage) await(what string, ok func() error) error {
	limit := time.NewTimer(settle)
	defer limit.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok()
		if err == nil {
			return nil
		}
		select {
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		case <-limit.C:
			return fmt.Errorf("waiting for %s: %w", what, err)
		case <-tick.C:
		}
	}
}

// start runs a child. What is wrong ends the row.
func (s *stage) start(sp spec) {
	sp.Brokers, sp.Kafka = s.addrs, s.Kafka
	if s.row.BrokerProxy == sp.Role || s.row.BrokerProxy == "both" {
		if s.brokersProxy[sp.Name] == nil {
			p, err := netfault.Listen("tcp", "127.0.0.1:0", "")
			if err != nil {
				s.fail(err)
				return
			}
			s.brokersProxy[sp.Name] = p
		}
		sp.Proxy = s.brokersProxy[sp.Name].Addr()
	}
	s.runs++
	p, err := startProcess(childproc.Spec{Name: sp.Name, Path: s.Executable, Args: s.ChildArgs, Task: sp, Log: filepath.Join(s.dir, fmt.Sprintf("%03d-%s.log", s.runs, sp.Name))})
	if err != nil {
		s.fail(err)
		return
	}
	s.procs.set(sp.Name, p)
}

func (s *stage) startSidecar() { s.startSidecarAs("sidecar", s.socket()) }

// startSidecarAs starts one at a socket. All of a row have one transactional id.
func (s *stage) startSidecarAs(name, socket string) {
	sp := spec{Role: "sidecar", Name: name, Socket: socket}
	if s.ExactlyOnce {
		sp.Transactional = s.name
	}
	s.start(sp)
}

func isSidecar(name string) bool { return strings.HasPrefix(name, "sidecar") }

func (s *stage) startApp(name string) {
	socket := s.socket()
	if s.socketProxy != nil && name == "app-1" {
		socket = s.socketProxy.Addr()
	}
	sp := s.app(name)
	sp.Socket = socket
	s.start(sp)
}

// app is what a process of this row is to be.
func (s *stage) app(name string) spec {
	sp := spec{Role: "app", Name: name, Group: s.name, Input: s.input, Output: s.output, Dead: s.dead,
		Session: consumer.DefaultSessionTimeout, Commit: time.Second, Work: s.row.Work, Protocol: s.Protocol}
	if s.row.App != nil {
		s.row.App(&sp)
	}
	if s.ExactlyOnce {
		sp.ExactlyOnce, sp.Commit = true, 0
	}
	return sp
}

// again starts a process that has ended under its name.
func (s *stage) again(name string) {
	if name == "sidecar" {
		s.startSidecar()
		return
	}
	s.startApp(name)
}

// kill ends a process with SIGKILL and starts it again after a moment. takeover: others must have
// its partitions by then.
func (s *stage) kill(name string) {
	s.incident("SIGKILL of "+name, name)
	s.procs.named(name).Kill()
}

// pause stops a process with SIGSTOP; resume lets it go on.
func (s *stage) pause(name string) {
	if err := s.procs.named(name).Pause(); err != nil {
		s.fail(err)
	}
}

func (s *stage) resume(name string) {
	if err := s.procs.named(name).Resume(); err != nil {
		s.fail(err)
	}
}

// terminate ends a process with SIGTERM and wants exit code 0.
func (s *stage) terminate(name string) error {
	p := s.procs.named(name)
	if err := p.Terminate(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(s.ctx, 40*time.Second, errors.New("it did not end within 40 s of SIGTERM"))
	defer cancel()
	code, err := p.Wait(ctx)
	if err != nil {
		return err
	}
	if code != 0 {
		return fmt.Errorf("%s ended with exit code %d at SIGTERM", name, code)
	}
	return nil
}

// sleep lets the load go on.
func (s *stage) sleep(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.ctx.Done():
	}
}

// caughtUp waits until every input is handled and committed.
func (s *stage) caughtUp(inputs uint64) error {
	if err := s.await("every input to be handled", func() error {
		if _, handled := s.tail.counts(); uint64(handled) < inputs {
			return fmt.Errorf("%d of %d inputs have an output", handled, inputs)
		}
		return nil
	}); err != nil {
		return err
	}
	return s.await("every input to be committed", func() error {
		lag, err := reader.Lag(s.ctx, s.client, s.name, s.input)
		if err == nil && lag > 0 {
			err = fmt.Errorf("lag %d", lag)
		}
		return err
	})
}

// close ends everything. Logs stay if keep.
func (s *stage) close() {
	s.fail(nil)
	if s.feed != nil {
		_, _ = s.feed.Finish()
	}
	for _, p := range s.procs.all() {
		p.Kill()
	}
	s.tasks.Wait()
	for _, p := range s.brokersProxy {
		_ = p.Close()
	}
	if s.socketProxy != nil {
		_ = s.socketProxy.Close()
	}
	if s.tail != nil {
		s.tail.close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, _ = s.admin.DeleteTopics(ctx, s.input, s.output, s.dead)
	_, _ = s.admin.DeleteGroups(ctx, s.name)
}

// logs returns the ends of the processes' logs.
func (s *stage) logs() string {
	var out strings.Builder
	entries, _ := os.ReadDir(s.dir)
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".log") {
			continue
		}
		fmt.Fprintf(&out, "%s:\n  %s\n", e.Name(), strings.Join(childproc.TailOf(filepath.Join(s.dir, e.Name()), 12), "\n  "))
	}
	return out.String()
}
