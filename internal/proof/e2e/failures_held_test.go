package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/childproc"
	"github.com/ackmark/ackmark/internal/donemeta"
)

const (
	drainTimeout = time.Second
	// drainLimit is how long it may take until others have redone what a member had in hand at its
	// drain's deadline, from the start of who joins: that, and two rebalances.
	drainLimit = drainTimeout + 2*takeoverLimit
	// atWork is for how long the apps may have been at work before a row begins.
	atWork = time.Second
	// holdFile is where a row says what its apps hold back.
	holdFile = "hold"
)

var everyPartition = []int32{0, 1, 2, 3, 4, 5}

// hold has the handlers of a process, or of the inputs of a value, not return until letGo is
// called. Stalls of these partitions meanwhile are the test's own.
func (x *failing) hold(what string, of ...int32) (letGo func()) {
	x.Helper()
	file, begun := filepath.Join(x.dir, holdFile), time.Now()
	x.must(os.WriteFile(file+".new", []byte(what), 0o600))
	x.must(os.Rename(file+".new", file))
	return func() {
		x.Helper()
		x.must(os.Remove(file))
		x.excused(time.Since(begun), of...)
	}
}

// excused says how long the test itself has held partitions up.
func (x *failing) excused(d time.Duration, of ...int32) {
	for _, p := range of {
		x.held[p] += d
	}
}

// answered says when somebody answers for every input and output partition again, for which it asks
// from now on.
func (x *failing) answered() <-chan time.Time {
	at := make(chan time.Time, 1)
	go func() {
		defer close(at)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for x.Context().Err() == nil {
			ctx, cancel := context.WithTimeout(x.Context(), time.Second) // the client would wait longer and longer
			ends, err := x.kafka.Admin().ListEndOffsets(ctx, x.input, x.output)
			cancel()
			if errors.Join(err, ends.Error()) == nil {
				at <- time.Now()
				return
			}
			<-tick.C
		}
	}()
	return at
}

// excess is the longest time in which the reader saw nothing of an input partition, beside what the
// test has held it up itself.
func (x *failing) excess() (longest time.Duration) {
	for p := range int32(partitions) {
		longest = max(longest, x.h.stallOf(p)-x.held[p])
	}
	return longest
}

func (x *failing) must(err error) {
	x.Helper()
	if err != nil {
		x.Fatal(err)
	}
}

// inHand are the inputs that the handlers of a process hold, or held: by partition, the offsets.
func (x *failing) inHand(p *childproc.Process) map[int32][]int64 {
	x.Helper()
	held := map[int32][]int64{}
	for line := range strings.Lines(readLog(x.T, p.Log)) {
		_, id, ok := strings.Cut(strings.TrimSuffix(line, "\n"), inHand)
		if !ok || !strings.HasSuffix(line, "\n") { // half a line, while it is written
			continue
		}
		of := strings.Split(id, "/")
		partition, err := strconv.ParseInt(of[1], 10, 32)
		offset, err2 := strconv.ParseInt(of[2], 10, 64)
		x.must(errors.Join(err, err2))
		held[int32(partition)] = append(held[int32(partition)], offset)
	}
	return held
}

// drainPassed has an app join while another one's handlers hold inputs of each of its partitions,
// and go on to do so when the deadline of their drain has passed: what is in hand is given away,
// and done by others. Then the handlers return, with outputs that nobody may see.
func (x *failing) drainPassed() {
	x.Helper()
	victim := x.apps[0]
	var held []int32
	x.await("work of "+victim.Name+" on half of the partitions", func() error {
		if held = x.h.of(victim.Name); len(held) < partitions/2 {
			return fmt.Errorf("on %v", held)
		}
		return nil
	})
	letGo := x.hold(victim.Name, held...)
	x.await("an input in hand of each partition of "+victim.Name, func() error {
		inHand := x.inHand(victim)
		for _, p := range held {
			if len(inHand[p]) == 0 {
				return fmt.Errorf("partition %d: none", p)
			}
		}
		return nil
	})
	joined := time.Now()
	x.apps = append(x.apps, nil)
	x.start(2)
	var redone int
	x.await("what was in hand to be done by others", func() error {
		inHand := x.inHand(victim)
		if redone = x.h.redone(inHand, victim.Name); redone == 0 {
			return fmt.Errorf("nothing of %v", inHand)
		}
		return nil
	})
	x.took = time.Since(joined)
	if x.took < drainTimeout {
		x.Errorf("what was in hand was given away %s after the other app's start, before the drain's deadline of %s", x.took, drainTimeout)
	}
	letGo()
	x.h.awaitWork(victim.Name, failureRate/3) // behind the late outputs
	x.Logf("of the inputs in hand %d were given away, and done by others", redone)
	x.terminate(x.apps[2])
	x.apps = x.apps[:2]
	x.members(2)
}

// redone counts inputs that have outputs of others than a process.
func (h *holders) redone(inputs map[int32][]int64, not string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for p, offsets := range inputs {
		for _, w := range h.seen[p] {
			for _, o := range offsets {
				if w.offset == o && w.by != not {
					n++
				}
			}
		}
	}
	return n
}

// podKilledWithoutBrokers kills the apps and their sidecar when all brokers are down, and starts
// them when the brokers are there again: what became of the last transaction nobody has heard.
func (x *failing) podKilledWithoutBrokers() {
	x.Helper()
	begun := time.Now()
	for i := range x.kafka.Addrs() {
		x.kafka.Kill(i)
	}
	for _, victim := range []*childproc.Process{x.apps[0], x.sidecar, x.apps[1]} {
		<-time.After(restartAfter) // they live on for a moment, without brokers
		x.kill(victim)
	}
	x.kafka.Repair()
	x.excused(time.Since(begun), everyPartition...)
	back := time.Now()
	x.startSidecar()
	x.appsBack(back)
}

// appsBack starts both apps again, and measures from a moment how long each partition waits for
// them.
func (x *failing) appsBack(from time.Time) {
	x.Helper()
	x.start(0)
	x.start(1)
	for p := range int32(partitions) {
		x.took = max(x.took, x.h.awaitSeen(fmt.Sprintf("outputs of partition %d", p), from, func(of int32, _ work) bool { return of == p }))
	}
	x.members(2)
}

// doneSetRefused has inputs done behind slow ones, and the brokers take no done-set. Nothing is
// committed without it, since that would repeat them: their partitions halt, and say what to set.
// Then the apps are killed. Others, which do one input at a time and so have no done-sets, do what
// is left. At-least-once commits the ack mark without it, and goes on.
func (x *failing) doneSetRefused() {
	x.Helper()
	begun := time.Now()
	x.f.more(4 * failureRate)
	halted := false
	for _, app := range x.apps {
		x.kill(app)
		for line := range strings.Lines(readLog(x.T, app.Log)) {
			halted = halted || strings.Contains(line, "partition halted") && strings.Contains(line, "OFFSET_METADATA_TOO_LARGE") && strings.Contains(line, "offset.metadata.max.bytes")
		}
	}
	if !halted && !x.isTwin {
		x.Errorf("no partition has halted and said that its done-set is too large, and what to set")
	}
	x.env[envLanes], x.env[envSlow] = "1", ""
	x.excused(time.Since(begun)+atWork, everyPartition...)
	x.appsBack(time.Now())
}

// slowInput is the value of the input that holds an ack mark back, and beyond how many more inputs
// than a done-set has room for follow it. A consumer may hold so many back that would fit, see
// package consumer: one for each step of the mark would be a poll for each.
const (
	slowInput = "slow"
	beyond    = 2000
	heldBack  = 1024
)

// killedWithFullDoneSet has one input hold the ack mark back while as many behind it are done as a
// done-set has room for: what no commit could say is not handed out. The app that has it in hand is
// killed; its successor does that one again, and what follows, and nothing else.
func (x *failing) killedWithFullDoneSet() {
	x.Helper()
	const partition = 0
	letGo := x.hold(slowInput, partition)
	slow := x.burst(partition, slowInput, donemeta.MaxSpan+beyond)
	has := func(app *childproc.Process) bool { return len(x.inHand(app)[partition]) > 0 }
	victim := -1
	x.await("the slow input to be in hand", func() error {
		if victim = slices.IndexFunc(x.apps, has); victim < 0 {
			return fmt.Errorf("offset %d is not", slow)
		}
		return nil
	})
	done := int64(0)
	x.await("a done-set that is full", func() error {
		n, highest := x.h.above(partition, slow)
		if done = n; n < donemeta.MaxSpan-heldBack || n != highest-slow {
			return fmt.Errorf("%d outputs above offset %d, up to %d", n, slow, highest)
		}
		return nil
	})
	died := time.Now()
	x.kill(x.apps[victim])
	x.start(victim)
	x.await("another process to have the slow input in hand", func() error {
		if !slices.ContainsFunc(x.apps, has) {
			return fmt.Errorf("nobody has")
		}
		return nil
	})
	again := time.Since(died)
	if n, highest := x.h.above(partition, slow); highest >= slow+donemeta.MaxSpan {
		x.Errorf("%d inputs above offset %d are done, up to %d: no done-set can say that", n, slow, highest)
	}
	x.Logf("killed with %d inputs done above the slow one, which was in hand again after %s", done, again.Round(10*time.Millisecond))
	letGo()
	behind := x.h.awaitSeen("outputs behind the full done-set", time.Now(), func(of int32, w work) bool { return of == partition && w.offset >= slow+donemeta.MaxSpan })
	x.took = max(again, behind)
}

// burst writes an input of a value and so many without one to a partition, none of them with a key:
// they may be done in any order. It returns the offset of the first.
func (x *failing) burst(partition int32, value string, n int) int64 {
	x.Helper()
	client := x.plain(kgo.DefaultProduceTopic(x.input), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	first, err := client.ProduceSync(x.Context(), &kgo.Record{Partition: partition, Value: []byte(value)}).First()
	x.must(err)
	for range n {
		client.Produce(x.Context(), &kgo.Record{Partition: partition, Value: []byte("quick")}, nil)
	}
	x.must(client.Flush(x.Context()))
	x.more += uint64(n) + 1
	return first.Offset
}

// above counts the inputs of a partition above an offset that have an output, and tells the
// highest.
func (h *holders) above(partition int32, offset int64) (n, highest int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range h.seen[partition] {
		if w.offset > offset {
			n, highest = n+1, max(highest, w.offset)
		}
	}
	return n, highest
}
