package consumer

import (
	"errors"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// forgetFetches leaves the client as it is after it lost a wake-up: its partitions are to be read,
// and its fetch loops have ended. They end when all is paused, and are not told that it is not any
// more.
func forgetFetches(t *testing.T, cl *kgo.Client) {
	t.Helper()
	field := reflect.ValueOf(cl).Elem().FieldByName("consumer").FieldByName("paused")
	if field.Type() != reflect.TypeFor[atomic.Value]() {
		t.Fatalf("the client's paused partitions are a %s now: find out how to lose a wake-up of it", field.Type())
	}
	paused := (*atomic.Value)(field.Addr().UnsafePointer())
	before := paused.Load()
	cl.PauseFetchTopics(topic)
	time.Sleep(2 * fetchMaxWait)
	synctest.Wait()
	paused.Store(before)
}

// A client that forgot to fetch is woken, within wakeEvery: the inputs come, each once.
func TestClientThatForgotToFetch(t *testing.T) {
	inLab(t, 3, func(t *testing.T, l *lab) {
		m := l.start(l.config(), nil)
		for p := range int32(3) {
			l.feed(p, 5)
			l.untilCommitted(p, 5)
		}
		forgetFetches(t, m.Client())
		begun := time.Now()
		for p := range int32(3) {
			l.feed(p, 7)
		}
		l.until("all is read", func() bool {
			done := 0
			for _, p := range m.State().Partitions {
				done += int(p.Done)
			}
			return done == 36
		})
		if took := time.Since(begun); took > wakeEvery+time.Second {
			t.Errorf("it was read after %s", took)
		}
		wantNil(t, m.stop())
	})
}

// only is the state of partition 0.
func (m *member) only() PartitionState {
	for _, p := range m.State().Partitions {
		if p.Partition == 0 {
			return p
		}
	}
	return PartitionState{LogEnd: -1}
}

// What nothing comes of, though it has more, is named, also where nobody knows why: here the client
// has it paused, and nobody told it to.
func TestUnreadIsNamed(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		m := l.start(l.config(), nil)
		l.feed(0, 5)
		l.untilCommitted(0, 5)
		m.Client().PauseFetchPartitions(map[string][]int32{topic: {0}})
		time.Sleep(2 * fetchMaxWait)
		l.feed(0, 3)
		l.feed(1, 1)
		l.untilCommitted(1, 1)
		begun := time.Now()
		l.until("it is named", func() bool { return m.only().Unread != nil })
		if took := time.Since(begun); took > unreadAfter+2*lookAfter {
			t.Errorf("it was named after %s", took)
		}
		s := m.only()
		if e := wantAs[*UnreadError](t, s.Unread); e.Next != 5 || e.LogEnd != 8 || e.Partition != 0 || s.LogEnd != 8 || s.Lag() != 3 {
			t.Errorf("got %v, log end %d, lag %d", e, s.LogEnd, s.Lag())
		}
		if n := strings.Count(l.logs.String(), "partitions are not read"); n != 1 {
			t.Errorf("it was logged %d times", n)
		}
		for _, p := range m.State().Partitions {
			if p.Partition == 1 && p.Unread != nil {
				t.Errorf("another one is named: %v", p.Unread)
			}
		}
		m.Client().ResumeFetchPartitions(map[string][]int32{topic: {0}})
		l.untilCommitted(0, 8)
		if s := m.only(); s.Unread != nil {
			t.Errorf("it is read, and named: %v", s.Unread)
		}
		wantNil(t, m.stop())
	})
}

// A partition that has nothing to read is read, however long; the end of its log is known soon.
func TestIdleIsRead(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		m := l.start(l.config(), nil)
		l.until("it is assigned", func() bool { return len(m.State().Partitions) == 1 })
		time.Sleep(firstLook + 2*wakeEvery)
		if s := m.only(); s.LogEnd != 0 || s.Lag() != 0 {
			t.Errorf("the log ends at %d, lag %d: want 0", s.LogEnd, s.Lag())
		}
		for range 30 {
			time.Sleep(time.Minute)
			if s := m.only(); s.Unread != nil {
				t.Fatalf("got %v", s.Unread)
			}
		}
		wantNil(t, m.stop())
	})
}

// A partition whose leader does not say whether it has more is named, and says why.
func TestUnansweredIsNamed(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		m := l.start(l.config(), nil)
		l.until("it is assigned", func() bool { return len(m.State().Partitions) == 1 })
		l.cluster.ControlKey(int16(kmsg.ListOffsets), func(req kmsg.Request) (kmsg.Response, error, bool) {
			l.cluster.KeepControl()
			resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
			for _, t := range req.(*kmsg.ListOffsetsRequest).Topics {
				rt := kmsg.NewListOffsetsResponseTopic()
				rt.Topic = t.Topic
				for _, p := range t.Partitions {
					rp := kmsg.NewListOffsetsResponseTopicPartition()
					rp.Partition, rp.ErrorCode = p.Partition, kerr.TopicAuthorizationFailed.Code
					rt.Partitions = append(rt.Partitions, rp)
				}
				resp.Topics = append(resp.Topics, rt)
			}
			return resp, nil, true
		})
		l.until("it is named", func() bool { return m.only().Unread != nil })
		e := wantAs[*UnreadError](t, m.only().Unread)
		if !errors.Is(e, kerr.TopicAuthorizationFailed) || e.LogEnd != -1 || e.Quiet < unreadAfter {
			t.Errorf("got %v", e)
		}
		wantNil(t, m.stop())
	})
}

// A handler that does nothing keeps its partition paused: that is no silence.
func TestPausedIsNotUnread(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		cfg := l.config()
		cfg.MaxRecords = 16
		h := &holder{}
		m := l.start(cfg, h.deliver)
		l.feed(0, 100)
		l.until("it is paused", func() bool { return m.only().Paused })
		for range 4 {
			time.Sleep(time.Minute)
			if s := m.only(); s.Unread != nil {
				t.Fatalf("got %v", s.Unread)
			}
		}
		h.letGo()
		l.untilCommitted(0, 100)
		wantNil(t, m.stop())
	})
}
