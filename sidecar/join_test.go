package sidecar

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

func (s *Server) testJoin(t *testing.T) (*session, <-chan *session) {
	t.Helper()
	a, err := s.apps.Get("app", "")
	if err != nil {
		t.Fatal(err)
	}
	join := func() *session {
		sess, err := s.service.join(newStream(helloStream{}), &sidecarpb.Hello{SessionId: "s"}, a)
		if err != nil {
			t.Error(err)
		}
		return sess
	}
	first := join()
	first.intake.handling.Lock() // its receiver is between "not ended" and kgo
	next := make(chan *session, 1)
	go func() { next <- join() }()
	for { // until the second one is in the table
		if s.registered() != first {
			return first, next
		}
		time.Sleep(time.Millisecond)
	}
}

func (s *Server) registered() *session {
	sess, _ := s.sessions.find("s")
	return sess
}

func stillWaits(t *testing.T, next <-chan *session) {
	t.Helper()
	select {
	case <-next:
		t.Error("the newest stream was welcomed while the oldest could still hand a record to kgo: it may be overtaken (S7)")
	case <-time.After(50 * time.Millisecond):
	}
}

// Three streams of one session within a moment: the third replaces the second, which has not
// produced anything, but must not forget the first.
func TestAThirdStreamWaitsForTheFirst(t *testing.T) {
	s := idle(t)
	first, second := s.testJoin(t)
	a, _ := s.apps.Get("app", "")
	third := make(chan *session, 1)
	go func() {
		sess, _ := s.service.join(newStream(helloStream{}), &sidecarpb.Hello{SessionId: "s"}, a)
		third <- sess
	}()
	stillWaits(t, third)
	first.intake.handling.Unlock()
	<-second
	<-third
}

// A stream that broke is forgotten only when its receiver is done: the next stream finds either the
// session or nothing that could still produce.
func TestABrokenStreamIsForgottenWhenItsReceiverIsDone(t *testing.T) {
	s := idle(t)
	a, err := s.apps.Get("app", "")
	if err != nil {
		t.Fatal(err)
	}
	old, err := s.service.join(newStream(helloStream{}), &sidecarpb.Hello{SessionId: "s"}, a)
	if err != nil {
		t.Fatal(err)
	}
	old.intake.handling.Lock()
	left := make(chan struct{})
	go func() { s.sessions.close(old, errStreamDone); close(left) }()
	<-old.ctx.Done()
	next := make(chan *session, 1)
	go func() {
		sess, _ := s.service.join(newStream(helloStream{}), &sidecarpb.Hello{SessionId: "s"}, a)
		next <- sess
	}()
	stillWaits(t, next)
	old.intake.handling.Unlock()
	<-left
	if sess := <-next; s.registered() != sess {
		t.Error("the new session is not in the table")
	}
}

// A Hello that arrives in the moment in which its stream was given up must not leave a session
// behind.
func TestHelloAfterTheStreamWasGivenUp(t *testing.T) {
	s := idle(t)
	d := newStream(helloStream{})
	s.service.discard(d)
	if err := s.service.hello(d, &sidecarpb.Hello{Version: ProtocolVersion, App: "app", SessionId: "s"}); err == nil {
		t.Error("welcomed on a stream that is over")
	}
	if s.registered() != nil {
		t.Error("a session without a stream stays for ever: it counts against MaxSessions, and every drain waits for it")
	}
}

// A list that leaves an app out asks its session to begin again: one that is open, and one whose
// Hello was admitted under the old list and is not in the table yet, where Reload does not see it.
func TestAListIsInForceForSessionsOfBefore(t *testing.T) {
	for name, open := range map[string]bool{"open": true, "on its way": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := idle(t)
				said := make(chan error, 1)
				go func() {
					said <- s.service.hello(newStream(helloStream{}), &sidecarpb.Hello{Version: ProtocolVersion, App: "app", SessionId: "s"})
				}()
				if synctest.Wait(); open { // it waits for what Kafka says of the cluster
					if err := <-said; err != nil {
						t.Fatal(err)
					}
					said <- nil
				}
				if (s.registered() != nil) != open {
					t.Fatal("this test proves nothing")
				}
				if _, err := s.Reload(func() (Config, error) {
					return Config{Brokers: []string{"127.0.0.1:1"}, Apps: []App{{Name: "another"}}}, nil
				}); err != nil {
					t.Fatal(err)
				}
				if err := <-said; err != nil {
					t.Fatal(err)
				}
				sess := s.registered()
				sess.mu.Lock()
				defer sess.mu.Unlock()
				if sess.state != stateDraining || len(sess.cold) != 1 || sess.cold[0].GetDraining() == nil {
					t.Errorf("an app that is not in the list has a session: state %d, %v", sess.state, sess.cold)
				}
			})
		})
	}
}

type helloStream struct{ serverStream }

func (helloStream) Context() context.Context { return context.Background() }
