package lab

import (
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/proof/verify"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
)

func TestPoisonGoesToTheDeadLetters(t *testing.T) {
	both(t, Config{DeadLetter: true, Handler: Trouble}, func(l *Lab) {
		a := l.StartApp("a")
		l.StartApp("b")
		l.FeedOver(1000, 20*time.Second)
		l.SleepUpTo(10 * time.Second)
		a.Kill()
		l.StartApp("a")
		l.Idle()
		if n := l.Checker.Counts(); n.DeadLetters < 10 || n.DeadLetters+n.Durable < 1000 {
			l.T.Errorf("dead letters: %+v", n)
		}
	})
}

// An output that Kafka refuses takes its input to the dead-letter topic, and nothing else: not its
// batch, nor other apps' records. No answers of the brokers are lost here: the embedded broker has
// one epoch for all of a producer's partitions, Kafka one for each, and after a refusal it takes
// what is sent again there for new.
func TestRefusedOutputsGoToTheDeadLettersAlone(t *testing.T) {
	const share = 0.03
	handler := func(l *Lab, in *consumer.Message) ([]producer.Record, error) {
		out, err := Upper(l, in)
		if l.Chance("refused", in, share) {
			out[0].Timestamp = time.Now().Add(30 * 24 * time.Hour)
		}
		return out, err
	}
	both(t, Config{DeadLetter: true, Handler: handler}, func(l *Lab) {
		a := l.StartApp("a")
		l.StartApp("b")
		l.FeedOver(1000, 20*time.Second)
		l.SleepUpTo(10 * time.Second)
		a.Kill()
		l.StartApp("a")
		l.Idle()
		if n := l.Checker.Counts(); n.DeadLetters < 10 || n.DeadLetters > 70 || n.DeadLetters+n.Durable < 1000 {
			l.T.Errorf("dead letters: %+v", n)
		}
	})
}

// Without a dead-letter topic a rejected input halts its partition, and says so; the others go on.
// Somebody repairs the handler, and restarts.
func TestPoisonHaltsItsPartition(t *testing.T) {
	var repaired atomic.Bool
	handler := func(l *Lab, in *consumer.Message) ([]producer.Record, error) {
		if in.Partition == 0 && in.Offset == 5 && !repaired.Load() {
			return nil, pipeline.Reject(errors.New("poison"))
		}
		return Upper(l, in)
	}
	both(t, Config{Handler: handler}, func(l *Lab) {
		repaired.Store(false)
		a := l.StartApp("a")
		l.Feed(600)
		l.Sleep(20 * time.Second)
		for _, p := range a.State().Consumer.Partitions {
			halted, isHalt := errors.AsType[*consumer.HaltError](p.Halted)
			switch {
			case p.Partition == 0 && (!isHalt || halted.Offset != 5 || p.Committed > 5):
				l.T.Errorf("partition 0: %+v", p)
			case p.Partition != 0 && p.Lag() > 0:
				l.T.Errorf("partition %d did not go on: %+v", p.Partition, p)
			}
		}
		if err := a.Pipeline.Check(l.T.Context()); err == nil {
			l.T.Error("Check does not tell about the halted partition")
		}
		repaired.Store(true)
		_ = a.Stop()
		l.StartApp("b")
	})
}

// An output that cannot be written is its own input's trouble: too large, or a topic that does not
// exist (fault 16).
func TestOutputsThatCannotBeWritten(t *testing.T) {
	handler := func(l *Lab, in *consumer.Message) ([]producer.Record, error) {
		out, err := Upper(l, in)
		switch {
		case l.Chance("large", in, 0.02):
			noise := make([]byte, 2<<20) // what can be compressed might fit
			_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
			out[0].Value = append(out[0].Value, noise...)
		case l.Chance("nowhere", in, 0.02):
			out[0].Topic = "nowhere"
		case l.Chance("no topic", in, 0.02):
			out[0].Topic = ""
		}
		return out, err
	}
	both(t, Config{DeadLetter: true, Handler: handler}, func(l *Lab) {
		l.StartApp("a")
		l.FeedOver(600, 10*time.Second)
		l.Idle()
		if n := l.Checker.Counts(); n.DeadLetters < 10 || n.DeadLetters+n.Durable != 600 {
			l.T.Errorf("%+v", n)
		}
	})
}

// A handler that hangs and ignores its context (fault 22): the watchdog stops the process and
// names the input; the others take over.
func TestHandlerHangs(t *testing.T) {
	Run(t, Config{App: func(cfg *pipeline.Config) { cfg.HandlerTimeout = 10 * time.Second }}, func(l *Lab) {
		release, hung := make(chan struct{}), atomic.Bool{}
		l.SetHandler(func(l *Lab, in *consumer.Message) ([]producer.Record, error) {
			if in.Partition == 1 && in.Offset == 20 && !hung.Swap(true) {
				<-release
			}
			return Upper(l, in)
		})
		a := l.StartApp("a")
		l.Feed(600)
		stuck, ok := errors.AsType[*pipeline.StuckError](a.Wait())
		if !ok || stuck.Input.Partition != 1 || stuck.Input.Offset != 20 {
			l.T.Errorf("Run returned %v", a.err)
		}
		l.Exited(a)
		close(release)
		l.StartApp("b")
	})
}

// A stalled handler with a backlog behind it: what is fetched stays within the bounds, however long
// it takes (S9).
func TestMemoryWithAStalledHandler(t *testing.T) {
	const maxBytes, maxRecords = 1 << 20, 1000
	both(t, Config{Work: -1, App: func(cfg *pipeline.Config) {
		cfg.Consumer.MaxBytes, cfg.Consumer.MaxRecords = maxBytes, maxRecords
	}}, func(l *Lab) {
		stalled := make(chan struct{})
		l.SetHandler(func(l *Lab, in *consumer.Message) ([]producer.Record, error) {
			<-stalled
			return Upper(l, in)
		})
		l.Feed(20_000)
		a := l.StartApp("a")
		for range 60 {
			l.Sleep(time.Second)
			pending, bytes := 0, int64(0)
			for _, p := range a.State().Consumer.Partitions {
				pending, bytes = pending+p.Pending, bytes+p.PendingBytes
			}
			l.Checker.MemorySample("fetched and not done", bytes, maxBytes*9/8)
			if pending > maxRecords*9/8+DefaultPartitions { // each poll returns at least one
				l.T.Errorf("%d inputs are fetched and not done, the bound is %d and one poll", pending, maxRecords)
				break
			}
		}
		close(stalled)
		l.Idle()
		if n := l.Checker.Counts(); n.Duplicates > 0 || n.Durable != 20_000 {
			l.T.Errorf("%+v", n)
		}
	})
}

// Inputs without outputs are done at once, also beside those with some.
func TestFiltered(t *testing.T) {
	both(t, Config{Expect: func(id uint64) int { return int(id % 3 % 2) }, Handler: func(l *Lab, in *consumer.Message) ([]producer.Record, error) {
		if id, err := verify.Parse(in.Value); err != nil || id.Global%3%2 == 0 {
			return nil, err
		}
		return Upper(l, in)
	}}, func(l *Lab) {
		a := l.StartApp("a")
		l.StartApp("b")
		l.FeedOver(900, 10*time.Second)
		l.SleepUpTo(10 * time.Second)
		a.Kill()
		l.Idle()
		if n := l.Checker.Counts(); n.Durable != 300 {
			l.T.Errorf("%+v", n)
		}
	})
}

// Several outputs for each input, to many partitions: an input is done when the last of them is.
func TestManyOutputs(t *testing.T) {
	both(t, Config{PerInput: 3, Handler: Thrice}, func(l *Lab) {
		a := l.StartApp("a")
		l.StartApp("b")
		l.FeedOver(900, 20*time.Second)
		l.SleepUpTo(10 * time.Second)
		l.MoveLeaders()
		a.Kill()
		l.StartApp("c")
		l.KillSidecar()
		if !l.cfg.Direct {
			l.StartSidecar()
		}
	})
}
