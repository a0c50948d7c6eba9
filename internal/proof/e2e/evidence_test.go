package e2e

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/proof/verify"
)

const (
	// defaultCommit is the consumer's commit interval.
	defaultCommit = time.Second
	// usualSlack is what a commit may be late by before "done since the last commit" counts as too
	// much, on a machine where less than calmLoad wait for each processor.
	usualSlack = 3 * time.Second
	calmLoad   = 10
	// inFlight is how long after a kill units of the dead may still appear: those that the sidecar
	// had, or a broker in its socket. It is shorter than what the tests wait until a new sidecar
	// starts, and than a dead member's session: within it nothing new appears in their place.
	inFlight = 1200 * time.Millisecond
)

// commitSlack is usualSlack, or as much more as this machine has more to do: at a load of 50 to 130
// of two cores commits were 4 to 6 s late.
func commitSlack() time.Duration {
	text, _ := os.ReadFile("/proc/loadavg") // "": not Linux
	first, _, _ := strings.Cut(string(text), " ")
	load, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return usualSlack
	}
	return time.Duration(max(1, load/calmLoad/float64(runtime.NumCPU())) * float64(usualSlack))
}

// evidence is what independent readers found when everything was over.
type evidence struct {
	*scenario
	first   map[int32][]time.Time // by input partition and offset: when its first output was appended, by the output's broker
	repeats []repeat
	commits map[int32][]commit
	works   map[int32][]work // by input partition, where apps say who they are
	result  verify.OutputsResult
}

// repeat is an output that was seen before.
type repeat struct {
	partition int32 // of the input
	offset    int64
	at        time.Time
}

// verify reads everything and holds the scenario to its promises. Call it at lag 0.
func (s *scenario) verify(inputs uint64) *evidence {
	s.Helper()
	e := s.gather(inputs)
	s.Logf("%s; %d commits", e.result, len(slices.Concat(slicesOf(e.commits)...)))
	if r := e.result; r.Lost+r.Reordered+r.Unknown+r.Corrupt+r.Split > 0 {
		s.Errorf("%s\n%s", r, r.Details())
	}
	e.checkCommits()
	e.checkRepeats()
	return e
}

func slicesOf(m map[int32][]commit) (all [][]commit) {
	for _, c := range m {
		all = append(all, c)
	}
	return all
}

type place struct {
	partition int32
	offset    int64
}

func (s *scenario) gather(inputs uint64) *evidence {
	s.Helper()
	e := &evidence{scenario: s, first: map[int32][]time.Time{}, commits: map[int32][]commit{}, works: map[int32][]work{}}
	where := make([]place, inputs)
	fed := uint64(0)
	s.readAll(s.input, func(r *kgo.Record) {
		id, err := verify.Parse(r.Value)
		if err != nil || id.Global >= inputs {
			s.Fatalf("input %d@%d: %v, %v", r.Partition, r.Offset, id, err)
		}
		if int64(len(e.first[r.Partition])) != r.Offset {
			s.Fatalf("input %d@%d: the log has gaps", r.Partition, r.Offset)
		}
		where[id.Global] = place{r.Partition, r.Offset}
		e.first[r.Partition] = append(e.first[r.Partition], time.Time{})
		fed++
	})
	if fed != inputs {
		s.Fatalf("%d inputs were acknowledged to the test, the topic has %d", inputs, fed)
	}
	outputs := verify.NewOutputs(verify.OutputsConfig{Name: "ackmark", Inputs: inputs})
	s.readAll(s.output, func(r *kgo.Record) {
		outputs.Add(r.Partition, r.Offset, r.Key, r.Value)
		if id, err := verify.Parse(r.Value); err == nil && id.Global < inputs {
			e.add(where[id.Global], r.Timestamp)
			if by, p, _ := madeBy(r); by != "" {
				e.works[p] = append(e.works[p], work{by: by, at: r.Timestamp, offset: where[id.Global].offset})
			}
		}
	})
	e.result = outputs.Result()
	for _, c := range s.commits() {
		e.commits[c.partition] = append(e.commits[c.partition], c)
	}
	return e
}

// add takes an output. An input's outputs share its key, hence one partition, so they come in the
// order of their appends.
func (e *evidence) add(in place, at time.Time) {
	if first := &e.first[in.partition][in.offset]; first.IsZero() {
		*first = at
	} else {
		e.repeats = append(e.repeats, repeat{in.partition, in.offset, at})
	}
}

// checkCommits holds S1 and S3 at every commit that the brokers accepted.
//
// S1 by clocks: an output's LogAppendTime is not after its acknowledgement, and a commit's
// timestamp, taken by the coordinator, is not before its request. So if every commit waits for the
// acknowledgements below it, then each first output below a committed offset has a LogAppendTime
// not after the commit's timestamp. The brokers here share one clock, and a log that lost a leader
// keeps the times of the records that it kept. This cannot accuse wrongly; it overlooks a commit
// that ran ahead by less than a millisecond, or that ran ahead of the acknowledgement but not of
// the append: the simulation lab sees those.
func (e *evidence) checkCommits() {
	e.Helper()
	for p, commits := range e.commits {
		last, durable := int64(0), time.Time{} // durable: when the latest of the first outputs below last was appended
		for _, c := range commits {
			if c.offset < last && e.mayRewind > 0 {
				e.mayRewind--
				last = c.offset // S1 holds for it as for any commit below one that it holds for; S3 begins anew
			}
			if c.offset < last {
				e.Errorf("S3: partition %d: commit %d after %d", p, c.offset, last)
				continue
			}
			for ; last < c.offset; last++ {
				if int(last) >= len(e.first[p]) {
					e.Errorf("S1: partition %d: commit %d, the log ends at %d", p, c.offset, len(e.first[p]))
					break
				}
				if at := e.first[p][last]; at.IsZero() {
					e.Errorf("S1: partition %d: commit %d, and offset %d has no output", p, c.offset, last)
				} else if at.After(durable) {
					durable = at
				}
			}
			if durable.After(c.at) {
				e.Errorf("S1: partition %d: commit %d at %s, an output below it was appended at %s", p, c.offset, clock(c.at), clock(durable))
			}
		}
	}
}

func clock(t time.Time) string { return t.Format("15:04:05.000") }

// checkRepeats holds S6 for each repeated output by itself, which is sharper than a sum: its input
// was not committed when something was killed, and its first output was there by then or came out
// of what was in flight. It prints the sums, and refuses a bound that is only large because commits
// did not come every commitEvery.
func (e *evidence) checkRepeats() {
	e.Helper()
	handedOver, unexplained := 0, 0
	last := map[place]time.Time{} // the occurrence before
	used := map[place][]bool{}    // incidents that explained a repetition of this input already: each explains one
	for _, r := range e.repeats {
		at := place{r.partition, r.offset}
		if _, again := last[at]; !again {
			last[at], used[at] = e.first[r.partition][r.offset], make([]bool, len(e.incidents))
		}
		n := slices.IndexFunc(e.incidents, func(i incident) bool { return e.mayRepeat(i, r.partition, r.offset) && r.at.After(i.at) })
		for n >= 0 && used[at][n] {
			n = e.nextExplaining(n, r)
		}
		switch {
		case n >= 0:
			used[at][n] = true
		case e.handsOver && e.overtook(r.partition, r.offset, last[at]):
			handedOver++
		default:
			if unexplained++; unexplained <= 10 {
				e.Errorf("S6: input %d@%d: output repeated at %s, its first was at %s: nothing explains it",
					r.partition, r.offset, clock(r.at), clock(e.first[r.partition][r.offset]))
			}
		}
		last[at] = r.at
	}
	total := handedOver
	var parts []string
	for n, i := range e.incidents {
		done, unacked := e.bound(n)
		total += done + unacked
		if done+unacked == 0 && len(e.incidents) > 4 {
			continue // a line of fifty is not read
		}
		parts = append(parts, fmt.Sprintf("%s: %d done since the last commit + %d unacknowledged", i.what, done, unacked))
	}
	if e.handsOver {
		parts = append(parts, fmt.Sprintf("partitions handed over: %d done above the ack mark", handedOver))
	}
	e.Logf("S6: duplicated %d, bound %d (%s)", len(e.repeats), total, strings.Join(parts, "; "))
	if len(e.repeats) > total {
		e.Errorf("S6: %d duplicates, the bound is %d", len(e.repeats), total)
	}
}

// nextExplaining returns the incident after n that explains a repetition, or -1.
func (e *evidence) nextExplaining(n int, r repeat) int {
	for n++; n < len(e.incidents); n++ {
		if i := e.incidents[n]; e.mayRepeat(i, r.partition, r.offset) && r.at.After(i.at) {
			return n
		}
	}
	return -1
}

// overtook tells whether an input was done, at this time, before an earlier one of its partition.
// When a partition changes hands in order, everything done is committed up to the ack mark; what
// was done above it, out of order, is done again by the next holder (until done-sets travel with
// the commits). An input that was done in order must not be. After a kill the same holds for the
// second time that its inputs are done.
func (e *evidence) overtook(partition int32, offset int64, at time.Time) bool {
	if slices.ContainsFunc(e.first[partition][:offset], func(earlier time.Time) bool { return earlier.After(at) }) {
		return true
	}
	return slices.ContainsFunc(e.repeats, func(r repeat) bool { return r.partition == partition && r.offset < offset && r.at.After(at) })
}

// affected tells whether an incident hit a partition. The death of a sidecar hits all. The death of
// an app hits those that it held: its name is on their outputs of that time. Of apps that do not
// write it they are known by their silence, if the sidecar does not speak for them: until the dead
// member's session ends (6 s, or 45 s) nobody commits them, and the others are committed every
// second. In the first moment a commit that was on its way may still arrive.
func (e *evidence) affected(i incident, partition int32) bool {
	if i.all {
		return true
	}
	if len(e.works) > 0 {
		return slices.ContainsFunc(e.works[partition], func(w work) bool {
			return w.by == i.name && w.at.After(i.at.Add(-e.commitEvery()-commitSlack())) && w.at.Before(i.over())
		})
	}
	before := e.committed(partition, i.at.Add(500*time.Millisecond))
	return e.committed(partition, i.at.Add(appSession-2*time.Second)) == before
}

// over is when an incident's units in flight have their fate: [inFlight] is what that takes on a
// machine that is not starved; a will that came later says when.
func (i incident) over() time.Time {
	if usual := i.at.Add(inFlight); i.settled.Before(usual) {
		return usual
	}
	return i.settled
}

// mayRepeat tells whether an input may be emitted again because of an incident.
func (e *evidence) mayRepeat(i incident, partition int32, offset int64) bool {
	return e.affected(i, partition) && offset >= e.committed(partition, i.at) && !e.first[partition][offset].After(i.over())
}

// committed is what the group had at a moment.
func (e *evidence) committed(partition int32, at time.Time) (offset int64) {
	for _, c := range e.commits[partition] {
		if c.at.After(at) {
			break
		}
		offset = c.offset
	}
	return offset
}

// bound counts an incident's inputs that may repeat: in the partitions that it hit, those done
// since the last commit, and those whose first output was on its way.
func (e *evidence) bound(n int) (done, unacked int) {
	e.Helper()
	i := e.incidents[n]
	for p, first := range e.first {
		if !e.affected(i, p) {
			continue
		}
		for o := e.committed(p, i.at); o < int64(len(first)); o++ {
			switch at := first[o]; {
			case at.After(i.over()):
			case at.After(i.at):
				unacked++
			default:
				done++
				if late := i.at.Sub(at); late > e.commitEvery()+commitSlack() && !e.stranded(n, p, o) {
					e.Errorf("S6: %s: input %d@%d was done %s earlier and is not committed: commits are due every %s", i.what, p, o, late, e.commitEvery())
				}
			}
		}
	}
	return done, unacked
}

// onTheWay is how many inputs may have been on their way to Kafka at an incident: written within
// inFlight of it, before or after.
func (e *evidence) onTheWay(n int) (all int) {
	i := e.incidents[n]
	for p, first := range e.first {
		if !e.affected(i, p) {
			continue
		}
		for o := e.committed(p, i.at); o < int64(len(first)); o++ {
			if at := first[o]; at.After(i.at.Add(-inFlight)) && at.Before(i.at.Add(inFlight)) {
				all++
			}
		}
	}
	return all
}

// stranded tells that an earlier incident is the reason why an input is done and not committed:
// nobody has taken its partition over yet.
func (e *evidence) stranded(n int, partition int32, offset int64) bool {
	return slices.ContainsFunc(e.incidents[:n], func(i incident) bool { return e.mayRepeat(i, partition, offset) })
}
