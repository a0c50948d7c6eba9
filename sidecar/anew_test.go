//go:build (linux || darwin) && !portable

package sidecar_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// halves is a member with two partitions, of which 3 and 2 inputs are done.
func halves(t *testing.T, b *bubble) *mortal {
	t.Helper()
	m := b.mortal(t, "s", "")
	m.assignAs(b.half(t, 0, 0), b.half(t, 1, 0))
	units := from(0, 1, 2, 0, 1)
	units[3].src.Epoch, units[4].src.Epoch = 2, 2
	m.units(units...)
	m.reported(len(units))
	return m
}

// half is one of the two partitions, where it stands.
func (b *bubble) half(t *testing.T, partition int32, at int64) *sidecarpb.AssignedPartition {
	t.Helper()
	id := b.topicID(t)
	return &sidecarpb.AssignedPartition{Epoch: uint64(partition) + 1, Topic: "in", TopicId: id[:], Partition: partition, StartOffset: at, StartIndex: uint64(at)}
}

// tells sends a part of what the member was assigned.
func (m *mortal) tells(more bool, parts ...*sidecarpb.AssignedPartition) {
	m.assigned(&sidecarpb.Assign{Group: "g", MemberId: m.member, Generation: m.gen, Partitions: parts, More: more})
	synctest.Wait()
}

// anew is the member's client with another session of the same id: it cannot go on with the old
// one.
func (m *mortal) anew(t *testing.T, before string) {
	t.Helper()
	m.client = nil
	m.connect(t, &sidecarpb.Hello{SessionId: "s", PreviousSidecarId: before})
	synctest.Wait()
}

// A client that begins anew dies before it has said where it stands, or all of it: of what it has
// not said its session before speaks, in the will of this sidecar and in that of the next one.
func TestTheSessionBeforeSpeaks(t *testing.T) {
	for name, c := range map[string]struct {
		successor bool // the sidecar is the next one by then
		say       func(t *testing.T, b *bubble, m *mortal)
		want      [2]int64
	}{
		"here, nothing is said": {false, func(*testing.T, *bubble, *mortal) {}, [2]int64{3, 2}},
		"here, a part is said": {false, func(t *testing.T, b *bubble, m *mortal) {
			m.tells(true, b.half(t, 0, 3))
			m.units(from(3)...)
			m.reported(1)
		}, [2]int64{4, 2}},
		"here, all is said": {false, func(t *testing.T, b *bubble, m *mortal) {
			m.tells(true, b.half(t, 0, 3))
			m.tells(false)
		}, [2]int64{3, -1}},
		"here, it begins anew again and again": {false, func(t *testing.T, b *bubble, m *mortal) {
			m.tells(true, b.half(t, 0, 3))
			for range 10 {
				m.anew(t, "another")
			}
		}, [2]int64{3, 2}},
		"here, it is another member": {false, func(_ *testing.T, _ *bubble, m *mortal) {
			m.assigned(&sidecarpb.Assign{Group: "g", MemberId: "another", Generation: m.gen, More: true})
			synctest.Wait()
		}, [2]int64{-1, -1}},
		"here, a partition is released": {false, func(_ *testing.T, _ *bubble, m *mortal) {
			m.send(&sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_Release{Release: &sidecarpb.Release{RequestId: 1, Epochs: []uint64{2}}}})
			synctest.Wait()
		}, [2]int64{3, -1}},
		"the next one, a part is said": {true, func(t *testing.T, b *bubble, m *mortal) {
			m.tells(true, b.half(t, 0, 3))
			m.units(from(3)...)
			m.reported(1)
		}, [2]int64{4, 2}},
		"the next one, nothing is said": {true, func(*testing.T, *bubble, *mortal) {}, [2]int64{3, 2}},
	} {
		for _, both := range []bool{false, true} {
			t.Run(name+map[bool]string{false: ", the client dies", true: ", both die"}[both], func(t *testing.T) {
				inPod(t, func(t *testing.T, b *bubble, dir string) {
					m := halves(t, b)
					before := "another"
					if c.successor {
						dir = asKilled(t, dir)
						b.successor(t, dir)
						time.Sleep(500 * time.Millisecond)
						before = m.welcome.GetSidecarId()
					}
					m.anew(t, before)
					c.say(t, b, m)
					if both {
						b.successor(t, asKilled(t, dir))
					} else {
						m.cancel()
					}
					time.Sleep(20 * time.Second)
					if have := b.offsets(); have != c.want {
						t.Errorf("committed %v, want %v", have, c.want)
					}
					if n, want := b.members(t), map[bool]int{true: 1}[c.want == [2]int64{-1, -1}]; n != want {
						t.Errorf("%d members, want %d", n, want)
					}
					if n := len(stateFiles(t, dir)); n > 1 || n > 0 && !both {
						t.Errorf("%d files stay", n)
					}
					if left := b.sc.Unaccounted(); left != "" {
						t.Error(left)
					}
				})
			})
		}
	}
}

// The same without a state directory.
func TestTheSessionBeforeSpeaksWithoutAFile(t *testing.T) {
	inDeath(t, nil, func(t *testing.T, b *bubble) {
		m := halves(t, b)
		m.anew(t, "another")
		m.tells(true, b.half(t, 0, 3))
		m.cancel()
		time.Sleep(5 * time.Second)
		if have := b.offsets(); have != [2]int64{3, 2} || b.members(t) != 0 {
			t.Errorf("committed %v, %d members", have, b.members(t))
		}
	})
}

// What the session before has with Kafka may still be written: the group is not left before.
func TestTheUnitsOfTheSessionBeforeAreWaitedFor(t *testing.T) {
	inDeath(t, nil, func(t *testing.T, b *bubble) {
		m := halves(t, b)
		slow := b.slow(3 * time.Second)
		m.units(from(3)...)
		synctest.Wait()
		m.anew(t, "another")
		m.cancel()
		time.Sleep(2500 * time.Millisecond) // the grace is a second
		if n := b.members(t); n != 1 {
			t.Errorf("%d members while a unit of the dead is on its way", n)
		}
		slow.Store(0)
		time.Sleep(5 * time.Second)
		if have := b.offsets(); have[1] != 2 || have[0] < 3 || b.members(t) != 0 {
			t.Errorf("committed %v, %d members", have, b.members(t))
		}
	})
}
