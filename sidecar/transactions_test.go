package sidecar_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/internal/devbroker"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

const exactlyOnce = "exactly-once"

// inTransactions runs a test with a sidecar that has a transactional id.
func inTransactions(t *testing.T, change func(*sidecar.Config), f func(t *testing.T, b *bubble)) {
	t.Helper()
	inDeath(t, func(c *sidecar.Config) {
		c.TransactionalID = "pod-0"
		if change != nil {
			change(c)
		}
	}, f)
}

// held has the broker keep every request of that kind to itself until the function is called, and
// counts them.
func (b *bubble) held(key kmsg.Key) (seen *atomic.Int64, let func()) {
	free := make(chan struct{})
	seen = new(atomic.Int64)
	b.kafka.ControlKey(int16(key), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.kafka.KeepControl()
		seen.Add(1)
		b.kafka.SleepControl(func() { <-free })
		return nil, nil, false
	})
	return seen, func() { close(free) }
}

// visible are the values in "out" that a reader of committed records sees, in order.
func (b *bubble) visible(t *testing.T) []string {
	t.Helper()
	ends, err := b.admin(t).ListCommittedOffsets(t.Context(), "out")
	if err != nil {
		t.Fatal(err)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.kafka.ListenAddrs()...), kgo.Dialer(b.net.DialContext), kgo.DisableClientMetrics(), kgo.ConsumeTopics("out"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	at, values := map[int32]int64{}, []string{}
	for behind := true; behind; {
		behind = false
		for p, o := range ends.Offsets()["out"] {
			behind = behind || at[p] < o.At
		}
		if !behind {
			break
		}
		cl.PollFetches(t.Context()).EachRecord(func(r *kgo.Record) {
			at[r.Partition] = r.Offset + 1
			if !r.Attrs.IsControl() {
				values = append(values, string(r.Value))
			}
		})
	}
	slices.Sort(values)
	return values
}

func (b *bubble) part(t *testing.T, epoch uint64) *sidecarpb.AssignedPartition {
	id := b.topicID(t)
	return &sidecarpb.AssignedPartition{Epoch: epoch, Topic: "in", TopicId: id[:]}
}

// want fails the test unless the group has that offset, and that many outputs are visible.
func (b *bubble) want(t *testing.T, offset int64, outputs int) {
	t.Helper()
	at, _ := b.committed(t)
	if got := b.visible(t); at != offset || len(got) != outputs {
		t.Errorf("the group has %d, and %q are visible; want %d and %d of them", at, got, offset, outputs)
	}
}

// A unit is acknowledged, and a Release answered, when the transaction has ended that has its
// outputs and its offset: not when Kafka has its records.
func TestAcknowledgedWhenItsTransactionHasEnded(t *testing.T) {
	inTransactions(t, nil, func(t *testing.T, b *bubble) {
		m := b.mortal(t, "s", "", exactlyOnce)
		if m.welcome.GetTransactionalId() != "pod-0" || !slices.Contains(m.welcome.GetFeatures(), exactlyOnce) {
			t.Errorf("welcomed with %v", m.welcome)
		}
		m.assignAs(b.part(t, 1))
		ends, let := b.held(kmsg.EndTxn)
		m.units(from(0, 1, 2)...)
		m.release(7, 1)
		time.Sleep(time.Second)
		if ends.Load() == 0 {
			t.Error("no transaction is about to end")
		}
		st, err := b.sc.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if s := st.GetSessions()[0]; s.GetOutstandingUnits() != 3 || !s.GetExactlyOnce() || st.GetTransactions().GetState() != "closing" {
			t.Errorf("%v, with transactions %v", s, st.GetTransactions())
		}
		let()
		if err := m.until(func() bool { return m.released[7] }); err != nil {
			t.Fatal(err)
		}
		if len(m.acked) != 3 {
			t.Errorf("released with %d units acknowledged", len(m.acked))
		}
		b.want(t, 3, 3)
	})
}

// What a process had sent when it died is committed whole, with its offsets, or not at all; then
// its group is left for it.
func TestADeadProcessAndItsTransaction(t *testing.T) {
	for name, rejoins := range map[string]bool{"in its generation": false, "behind a rebalance": true} {
		t.Run(name, func(t *testing.T) {
			inTransactions(t, nil, func(t *testing.T, b *bubble) {
				m := b.mortal(t, "s", "", exactlyOnce)
				m.assignAs(b.part(t, 1))
				m.units(from(0, 1)...)
				m.reported(2)
				slow := b.slow(300 * time.Millisecond)
				if rejoins {
					m.join(t) // and dies before it says so
				}
				m.units(from(2, 3, 5)...)
				synctest.Wait()
				m.cancel()
				slow.Store(0)
				time.Sleep(2500 * time.Millisecond) // its grace, and no more than a transaction
				if n := b.members(t); n != 0 {
					t.Errorf("%d members, want the dead one to have left", n)
				}
				if rejoins {
					b.want(t, 2, 2)
				} else {
					b.want(t, 4, 5)
				}
			})
		})
	}
}

// Units whose transaction was committed, and whose reports were lost with their session, are
// acknowledged without being produced again: the group has them.
func TestResumedWhereTheGroupStands(t *testing.T) {
	inTransactions(t, nil, func(t *testing.T, b *bubble) {
		m := b.mortal(t, "s", "", exactlyOnce)
		m.assignAs(b.part(t, 1))
		m.units(from(0, 1, 2, 4)...)
		m.reported(4)
		n := &mortal{b: b, member: m.member, gen: m.gen, more: m.more}
		n.connect(t, &sidecarpb.Hello{SessionId: "t"})
		again := b.part(t, 1)
		again.Resumed = true
		n.assignAs(again)
		n.units(from(4, 0, 1)...)
		n.units(from(3)...)
		n.units(from(2, 5)...)
		n.reported(6)
		if len(n.failed) > 0 {
			t.Errorf("%v", n.failed)
		}
		b.want(t, 6, 6)
		// The session that had them commits nothing of them any more.
		m.units(from(6)...)
		m.reported(5)
		if f := m.failed[5]; f.GetError().GetCode() != wire.CodeReleased {
			t.Errorf("a unit of who has them no more: %v", f)
		}
		b.want(t, 6, 6)
	})
}

// A member that its group does not know any more is told so, once, and nothing of it is committed;
// another session in the same transaction does not notice.
func TestAMemberThatItsGroupDoesNotKnow(t *testing.T) {
	inTransactions(t, nil, func(t *testing.T, b *bubble) {
		m := b.mortal(t, "s", "", exactlyOnce)
		m.assignAs(b.part(t, 1))
		other := &mortal{b: b, more: m.more}
		other.connect(t, &sidecarpb.Hello{SessionId: "u"})
		other.units(plain("out", 2)...)
		other.reported(2)
		leave := kmsg.NewPtrLeaveGroupRequest()
		leave.Group = "g"
		leave.Members = append(leave.Members, kmsg.LeaveGroupRequestMember{MemberID: m.member})
		if _, err := leave.RequestWith(t.Context(), m.kafka); err != nil {
			t.Fatal(err)
		}
		m.units(from(0, 1)...)
		other.units(plain("out", 2)...)
		other.reported(4)
		m.reported(2)
		if f := m.failed[1]; f.GetError().GetCode() != wire.CodeMemberFenced || len(other.acked) != 4 {
			t.Errorf("%v, and %d of the other's", f, len(other.acked))
		}
		if err := m.until(func() bool { return len(m.fenced) > 0 }); err != nil || m.fenced[0].GetMemberId() != m.member || m.fenced[0].GetGroup() != "g" {
			t.Errorf("told %v, %v", m.fenced, err)
		}
		b.want(t, -1, 4)
	})
}

// A group that the sidecar's principal may not read is not everybody's matter: units of it fail,
// other sessions' are committed, and the sidecar goes on.
func TestOneGroupsRefusalIsNotEverybodys(t *testing.T) {
	for _, why := range []*kerr.Error{kerr.GroupAuthorizationFailed, kerr.TopicAuthorizationFailed, kerr.InvalidGroupID} {
		t.Run(why.Message, func(t *testing.T) {
			inTransactions(t, nil, func(t *testing.T, b *bubble) {
				b.kafka.ControlKey(int16(kmsg.TxnOffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
					b.kafka.KeepControl()
					resp := kmsg.NewPtrTxnOffsetCommitResponse()
					resp.Version = req.GetVersion()
					for _, t := range req.(*kmsg.TxnOffsetCommitRequest).Topics {
						rt := kmsg.NewTxnOffsetCommitResponseTopic()
						rt.Topic, rt.TopicID = t.Topic, t.TopicID
						for _, p := range t.Partitions {
							rp := kmsg.NewTxnOffsetCommitResponseTopicPartition()
							rp.Partition, rp.ErrorCode = p.Partition, why.Code
							rt.Partitions = append(rt.Partitions, rp)
						}
						resp.Topics = append(resp.Topics, rt)
					}
					return resp, nil, true
				})
				m := b.mortal(t, "s", "", exactlyOnce)
				m.assignAs(b.part(t, 1))
				other := &mortal{b: b, more: m.more}
				other.connect(t, &sidecarpb.Hello{SessionId: "u"})
				m.units(from(0, 1)...)
				other.units(plain("out", 2)...)
				other.reported(2)
				m.reported(2)
				if f := m.failed[1].GetError(); f.GetCode() != wire.CodeDelivery || !strings.Contains(f.GetMessage(), why.Message) || len(other.acked) != 2 {
					t.Errorf("%v, and %d of the other's", f, len(other.acked))
				}
				b.want(t, -1, 2)
			})
		})
	}
}

// Who says Hello for transactions is welcomed when the transactional ids are taken, and no sooner:
// until then a former sidecar could still commit for it. A session without them does not wait.
func TestWelcomedWhenTheIDsAreTaken(t *testing.T) {
	inDeath(t, nil, func(t *testing.T, b *bubble) {
		inits, let := b.held(kmsg.InitProducerID)
		let = sync.OnceFunc(let)
		defer let()
		lis, conn := sidecartest.Bufconn(t)
		sidecartest.Start(t, b.kafka.ListenAddrs(), func(c *sidecar.Config) {
			c.TransactionalID, c.Listener, c.Options = "pod-0", lis, []kgo.Opt{kgo.Dialer(b.net.DialContext)}
		})
		c := openStream(t, conn)
		defer time.AfterFunc(time.Minute, c.cancel).Stop()
		c.send(helloMsg(&sidecarpb.Hello{Version: 1, App: "app", SessionId: "s", Features: []string{exactlyOnce}}))
		heard := make(chan error, 1)
		go func() { heard <- c.until(func() bool { return c.welcome != nil }) }()
		time.Sleep(2 * time.Second) // after 3 it is told what it waits for
		if p := hello(t, conn, "p"); p.welcome.GetTransactionalId() != "" {
			t.Errorf("a session without transactions is welcomed with %v", p.welcome)
		}
		select {
		case err := <-heard:
			t.Fatalf("heard %v (%v) before the ids are taken", c.welcome, err)
		default:
		}
		if inits.Load() == 0 {
			t.Error("nobody takes the ids: nothing is tested")
		}
		let()
		if err := <-heard; err != nil || c.welcome.GetTransactionalId() != "pod-0" {
			t.Errorf("when the ids are taken: %v, %v", c.welcome, err)
		}
	})
}

// Sessions without the feature are served as ever beside the transactions.
func TestAtLeastOnceBesideTransactions(t *testing.T) {
	inTransactions(t, nil, func(t *testing.T, b *bubble) {
		ends, let := b.held(kmsg.EndTxn)
		defer let()
		m := b.mortal(t, "s", "")
		if m.welcome.GetTransactionalId() != "" || slices.Contains(m.welcome.GetFeatures(), exactlyOnce) {
			t.Errorf("welcomed with %v", m.welcome)
		}
		m.assignAs(b.part(t, 1))
		m.units(from(0, 1, 2)...)
		m.reported(3)
		if len(m.acked) != 3 || ends.Load() > 0 {
			t.Errorf("%d acknowledged, %d transactions", len(m.acked), ends.Load())
		}
		b.want(t, -1, 3) // the process commits
	})
}

// A sidecar without a transactional id does not have the feature.
func TestNoTransactionsWithoutAnID(t *testing.T) {
	inDeath(t, nil, func(t *testing.T, b *bubble) {
		m := b.mortal(t, "s", "", exactlyOnce)
		if slices.Contains(m.welcome.GetFeatures(), exactlyOnce) {
			t.Errorf("welcomed with %v", m.welcome)
		}
	})
}

// An app's transactions commit for its own groups only.
func TestTransactionsOfAnAppsOwnGroups(t *testing.T) {
	allow := func(c *sidecar.Config) { c.Apps = []sidecar.App{{Name: "app", Groups: []string{"mine"}}} }
	inTransactions(t, allow, func(t *testing.T, b *bubble) {
		commits, let := b.held(kmsg.TxnOffsetCommit)
		let()
		m := b.mortal(t, "s", "", exactlyOnce)
		m.assignAs(b.part(t, 1))
		m.units(from(0, 1, 2)...)
		err := m.until(func() bool { return len(m.acked) > 0 })
		if status.Code(err) != codes.PermissionDenied || !strings.HasPrefix(status.Convert(err).Message(), wire.CodeGroupNotAllowed) {
			t.Errorf("%v, %d units acknowledged", err, len(m.acked))
		}
		time.Sleep(5 * time.Second)
		if commits.Load() > 0 {
			t.Errorf("%d commits for a group of others", commits.Load())
		}
		b.want(t, -1, 0)
	})
}

// What contradicts an assignment fails alone, and stays out of the transactions.
func TestUnitsThatNoTransactionTakes(t *testing.T) {
	inTransactions(t, nil, func(t *testing.T, b *bubble) {
		m := b.mortal(t, "s", "", exactlyOnce)
		m.assignAs(b.part(t, 1))
		far := from(0, 1, 2)
		far[1].src = wire.Source{Epoch: 1, Index: 1 << 40, Offset: 1 << 41}
		m.units(far...)
		wrong := from(4)
		wrong[0].src.Offset = 1 // index 4 is at 4 or above
		m.units(wrong...)
		m.units(testUnit{src: wire.Source{Epoch: 1, Index: 1, Offset: 1}, outs: []kgo.Record{{Topic: "out", Partition: 99, Value: []byte("nowhere")}}})
		m.units(from(3)...)
		m.reported(6)
		for seq, code := range map[uint64]string{2: wire.CodeDelivery, 4: wire.CodeDelivery, 5: "UNKNOWN_TOPIC_OR_PARTITION"} {
			if got := m.failed[seq].GetError().GetCode(); got != code {
				t.Errorf("unit %d: %q, want %q", seq, got, code)
			}
		}
		if len(m.acked) != 3 {
			t.Errorf("%d acknowledged", len(m.acked))
		}
		b.want(t, 1, 3) // 1 is open: 2 and 3 are done above it
	})
}

// Another sidecar takes the transactional id: what the former has open is aborted, it tells nobody
// that it is done, and it ends with its next transaction.
func TestAnotherSidecarTakesTheID(t *testing.T) {
	inTransactions(t, nil, func(t *testing.T, b *bubble) {
		m := b.mortal(t, "s", "", exactlyOnce)
		m.assignAs(b.part(t, 1))
		m.units(from(0, 1)...)
		m.reported(2)
		lis, _ := sidecartest.Bufconn(t)
		sidecartest.Start(t, b.kafka.ListenAddrs(), func(c *sidecar.Config) {
			c.TransactionalID, c.Listener, c.Options = "pod-0", lis, []kgo.Opt{kgo.Dialer(b.net.DialContext)}
		})
		time.Sleep(time.Second)
		b.kafka.ControlKey(int16(kmsg.InitProducerID), func(req kmsg.Request) (kmsg.Response, error, bool) {
			b.kafka.KeepControl()
			if req.(*kmsg.InitProducerIDRequest).ProducerID < 0 {
				return nil, nil, false
			}
			resp := kmsg.NewPtrInitProducerIDResponse() // as Kafka does; the embedded broker takes an older epoch
			resp.Version, resp.ErrorCode = req.GetVersion(), kerr.ProducerFenced.Code
			return resp, nil, true
		})
		m.units(from(2, 3)...)
		if err := m.until(func() bool { return len(m.acked)+len(m.failed) > 2 }); err == nil {
			t.Errorf("%d acknowledged, failed: %v", len(m.acked), m.failed)
		}
		err := b.sc.Wait()
		if e, ok := errors.AsType[*sidecar.TransactionError](err); !ok || !errors.Is(err, sidecar.ErrTransactionalIDTaken) || e.TransactionalID != "pod-0" {
			t.Errorf("the former sidecar ended with %v", err)
		}
		for _, says := range []string{`another process took the transactional id "pod-0-`, "by now, ours was", "give each sidecar that runs at the same time its own"} {
			if !strings.Contains(fmt.Sprint(err), says) {
				t.Errorf("it does not say %q: %v", says, err)
			}
		}
		if page, err := os.ReadFile("../docs/operations.md"); err != nil || !strings.Contains(string(page), "`another process took the transactional id`") {
			t.Errorf("docs/operations.md quotes something else: %v", err)
		}
		b.want(t, 2, 2)
	})
}

// Of two that have nothing to do the older one ends, too: it looks.
func TestAnotherSidecarTakesTheIDOfAnIdleOne(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, b *bubble) {
		devbroker.ValidateTransactions(b.kafka, kgo.Dialer(b.net.DialContext), kgo.DisableClientMetrics())
		b.another(t, func(c *sidecar.Config) { c.TransactionalID = "pod-0" })
		older := b.sc
		time.Sleep(time.Minute)
		b.another(t, func(c *sidecar.Config) { c.TransactionalID = "pod-0" })
		begun := time.Now()
		err := older.Wait()
		if took := time.Since(begun); !errors.Is(err, sidecar.ErrTransactionalIDTaken) || took > 10*time.Second {
			t.Errorf("after %s the former sidecar ended with %v", took, err)
		}
		time.Sleep(time.Minute)
		b.mortal(t, "t", "", exactlyOnce)
		b.wantReady(t, "the younger one", true)
	})
}

// The configuration is refused by name.
func TestTransactionsConfig(t *testing.T) {
	for field, change := range map[string]func(*sidecar.Config){
		"CommitEvery":        func(c *sidecar.Config) { c.CommitEvery = time.Second / 2 },
		"TransactionTimeout": func(c *sidecar.Config) { c.TransactionTimeout = time.Minute },
		"CommitEvery ":       func(c *sidecar.Config) { c.TransactionalID, c.CommitEvery = "a", time.Millisecond },
		"CommitEvery  ":      func(c *sidecar.Config) { c.TransactionalID, c.CommitEvery = "a", 2*time.Second },
		"TransactionTimeout ": func(c *sidecar.Config) {
			c.TransactionalID, c.CommitEvery, c.TransactionTimeout = "a", time.Second, 3*time.Second
		},
		"TransactionalID": func(c *sidecar.Config) { c.TransactionalID = strings.Repeat("a", 201) },
		"Options": func(c *sidecar.Config) {
			c.TransactionalID, c.Options = "a", []kgo.Opt{kgo.MetadataMinAge(time.Second)}
		},
	} {
		cfg := sidecar.Config{Brokers: []string{"localhost:1"}}
		change(&cfg)
		err := cfg.Validate()
		if err == nil || !strings.Contains(fmt.Sprint(err), strings.TrimSpace(field)) {
			t.Errorf("%s: %v", field, err)
		}
	}
}
