package told_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/ackmark/ackmark/internal/podstate"
	"github.com/ackmark/ackmark/internal/podwire"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/internal/told"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

var now = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

func good(epoch uint64) *sidecarpb.PartitionState {
	return &sidecarpb.PartitionState{
		Epoch: epoch, State: "reading", AckMark: 5, LogEnd: 20, DoneRuns: []*sidecarpb.OffsetRun{{First: 7, Last: 9}},
		Oldest: &sidecarpb.OldestInput{Offset: 5, SinceMs: now.Add(-time.Minute).UnixMilli(), Stage: "handling", Lane: 2, Behind: -1, KeyHash: "0011223344556677", Error: "e", Next: "n"},
	}
}

func all(epochs []uint64) []bool { return below(1 << 62)(epochs) }

// below holds the epochs below n.
func below(n uint64) func([]uint64) []bool {
	return func(epochs []uint64) []bool {
		out := make([]bool, len(epochs))
		for i, e := range epochs {
			out[i] = e < n
		}
		return out
	}
}

// show is what a status says of the session's epochs.
func show(s *told.Session, texts bool, epochs ...uint64) *sidecarpb.SessionStatus {
	out := new(sidecarpb.SessionStatus)
	for _, e := range epochs {
		out.Partitions = append(out.Partitions, &sidecarpb.SessionPartition{Epoch: e})
	}
	s.Show(out, texts)
	return out
}

func TestWhatIsToldIsShown(t *testing.T) {
	s := told.NewLog(64<<20, 64).Session("app", "a")
	if got := show(s, true, 1); got.GetToldMs() != 0 || got.GetPartitions()[0].GetState() != nil {
		t.Errorf("who told nothing: %v", got)
	}
	// The sender's clock is an hour late.
	s.Take(&sidecarpb.ProcessState{
		NowMs: now.Add(-time.Hour).UnixMilli(), Process: &sidecarpb.ProcessSummary{Lanes: 4, Problem: "p"},
		Partitions: []*sidecarpb.PartitionState{good(1), good(9)}, Waiting: []*sidecarpb.WaitingPartition{{Topic: "w", Reason: "r"}},
		Incidents: []*sidecarpb.Incident{{Kind: "halt", Topic: "t", TimeMs: now.Add(-2 * time.Hour).UnixMilli(), App: "another", SessionId: "b"}, {Kind: "will"}, {Kind: "abort"}, {Kind: "made up"}},
	}, now, below(5))
	got := show(s, true, 1, 2, 9)
	p := got.GetPartitions()
	if p[0].GetState().GetOldest().GetStage() != "handling" || p[1].GetState() != nil || p[2].GetState() != nil {
		t.Errorf("of what is told, held: %v", p)
	}
	if since := p[0].GetState().GetOldest().GetSinceMs(); since != now.Add(59*time.Minute).UnixMilli() {
		t.Errorf("since %v: by the sender's clock", time.UnixMilli(since).UTC())
	}
	if got.GetProcess().GetLanes() != 4 || len(got.GetWaiting()) != 1 || got.GetToldMs() != now.UnixMilli() {
		t.Errorf("%v", got)
	}
	in := s.Incidents()
	if len(in) != 1 || in[0].App != "app" || in[0].Session != "a" || !in[0].Time.Equal(now.Add(-time.Hour)) {
		t.Errorf("incidents %+v: of its own name, of kinds that there are, and no will or abort", in)
	}
	if text := show(s, false, 1).String(); strings.Contains(text, "0011223344556677") || strings.Contains(text, `"e"`) || strings.Contains(text, `"n"`) || strings.Contains(text, `"r"`) || strings.Contains(text, `"p"`) {
		t.Errorf("without texts: %s", text)
	}
}

// A report replaces what was told of its partitions; what the session does not hold any more is
// forgotten with the next one, and its room comes back.
func TestWhatIsOverIsForgotten(t *testing.T) {
	s := told.NewLog(64<<20, 64).Session("app", "a")
	var list []*sidecarpb.PartitionState
	for e := range uint64(1000) {
		list = append(list, good(e))
	}
	s.Take(&sidecarpb.ProcessState{Partitions: list}, now, all)
	full := s.Held()
	s.Take(&sidecarpb.ProcessState{Partitions: list}, now, all)
	if s.Held() != full || full == 0 {
		t.Errorf("told twice takes %d bytes, once %d", s.Held(), full)
	}
	s.Take(&sidecarpb.ProcessState{Process: new(sidecarpb.ProcessSummary)}, now, below(10))
	if got := s.Held(); got*110 < full || got*90 > full {
		t.Errorf("10 of 1000 take %d bytes of %d", got, full)
	}
	s.Close()
	if s.Held() != 0 {
		t.Errorf("a closed one holds %d bytes", s.Held())
	}
	s.Take(&sidecarpb.ProcessState{Process: new(sidecarpb.ProcessSummary), Partitions: list}, now, all)
	if s.Held() != 0 || s.Admits(now) || show(s, true, 1).GetToldMs() != 0 {
		t.Error("a closed one takes more")
	}
}

// Sixteen thousand partitions with the longest texts and the most runs: what there is no room for
// is left out, and another session has its own.
func TestRoomIsBounded(t *testing.T) {
	const maxBytes = 8 << 20
	log := told.NewLog(maxBytes, 64)
	greedy, modest := log.Session("greedy", "a"), log.Session("modest", "b")
	for e := uint64(0); e < 16<<10; e += 64 {
		m := &sidecarpb.ProcessState{}
		for i := range uint64(64) {
			p := good(e + i)
			p.DoneRuns = nil
			for r := range int64(podstate.MaxRuns) {
				p.DoneRuns = append(p.DoneRuns, &sidecarpb.OffsetRun{First: 1<<40 + 2*r, Last: 1<<40 + 2*r})
			}
			p.Reason, p.Oldest.Error, p.Oldest.Next = strings.Repeat("r", podstate.MaxText), strings.Repeat("e", podstate.MaxText), strings.Repeat("n", podstate.MaxText)
			m.Partitions = append(m.Partitions, p)
		}
		m.Process = new(sidecarpb.ProcessSummary)
		for i := range podstate.MaxWaiting {
			m.Waiting = append(m.Waiting, &sidecarpb.WaitingPartition{Topic: strings.Repeat("t", 249), Partition: int32(i), Reason: strings.Repeat("r", podstate.MaxText)})
		}
		greedy.Take(m, now, all)
	}
	if held := greedy.Held(); held > maxBytes/8 || held < maxBytes/64 {
		t.Errorf("%d bytes of %d", held, maxBytes/8)
	}
	modest.Take(&sidecarpb.ProcessState{Partitions: []*sidecarpb.PartitionState{good(1)}}, now, all)
	if show(modest, true, 1).GetPartitions()[0].GetState() == nil {
		t.Error("a neighbour has no room")
	}
}

// 10,000 partitions of a process that is alone fit into what a sidecar of the default size has.
func TestTenThousandPartitionsFit(t *testing.T) {
	s := told.NewLog(64<<20, 64).Session("app", "a")
	var epochs []uint64
	for e := uint64(0); e < 10_000; e += 250 {
		m := &sidecarpb.ProcessState{}
		for i := range uint64(250) {
			m.Partitions = append(m.Partitions, good(e+i))
			epochs = append(epochs, e+i)
		}
		s.Take(m, now, all)
	}
	for _, p := range show(s, true, epochs...).GetPartitions() {
		if p.GetState() == nil {
			t.Fatalf("epoch %d is left out, at %d bytes", p.GetEpoch(), s.Held())
		}
	}
}

// Messages beyond the rate are not even decoded.
func TestRate(t *testing.T) {
	s := told.NewLog(64<<20, 64).Session("app", "a")
	taken := 0
	for range 1000 {
		if s.Admits(now) {
			taken++
		}
	}
	if taken != 64 {
		t.Errorf("%d at once", taken)
	}
	for i := range 1000 {
		if s.Admits(now.Add(time.Duration(i) * time.Millisecond)) {
			taken++
		}
	}
	if taken < 64+30 || taken > 64+33 {
		t.Errorf("%d in the second after", taken-64)
	}
	if s.Admits(now.Add(-time.Hour)) {
		t.Error("a clock that goes back gives more")
	}
}

// What happened to a session outlives it, and one that is gone does not push everything out.
func TestIncidentsOutliveTheirSession(t *testing.T) {
	log := told.NewLog(64<<20, 64)
	log.Add(podstate.Incident{Time: now.Add(-time.Hour), Kind: podstate.Will, App: "old"})
	s, living := log.Session("app", "a"), log.Session("app", "b")
	for i := range 100 {
		s.Take(&sidecarpb.ProcessState{Incidents: []*sidecarpb.Incident{{Kind: "halt", Topic: fmt.Sprint(i), TimeMs: now.UnixMilli() + int64(i)}}}, now.Add(time.Second), all)
	}
	s.Close()
	s.Close()
	living.Take(&sidecarpb.ProcessState{Incidents: []*sidecarpb.Incident{{Kind: "fallback", TimeMs: now.Add(time.Minute).UnixMilli()}}}, now.Add(time.Minute), all)
	if got := show(living, true); got.GetToldMs() != 0 {
		t.Errorf("an incident is taken for a state: %v", got)
	}
	got := log.All([]*told.Session{s, living})
	if len(got) != podstate.MaxIncidents+2 || got[0].Kind != podstate.Fallback || got[1].Topic != "99" || got[len(got)-1].App != "old" {
		t.Errorf("%d: %+v", len(got), got)
	}
}

// What one process tells of times, none of which there is, takes the pod's state from nobody, and
// pushes nobody's incidents down.
func TestTimesThatAreNone(t *testing.T) {
	log := told.NewLog(64<<20, 64)
	liar, honest := log.Session("liar", "a"), log.Session("honest", "b")
	var incidents []podstate.Incident
	honest.Take(&sidecarpb.ProcessState{Incidents: []*sidecarpb.Incident{{Kind: "halt", Topic: "t", TimeMs: now.UnixMilli()}}}, now, all)
	for _, clock := range []int64{0, 1, now.UnixMilli(), 1<<48 - 1, math.MaxInt64, math.MinInt64} {
		for _, ms := range []int64{0, 1, -1, now.UnixMilli(), 253_402_300_799_999, 253_402_300_800_000, 1 << 48, math.MaxInt64, math.MinInt64} {
			p := good(1)
			p.Oldest.SinceMs, p.Oldest.NextMs = ms, ms
			liar.Take(&sidecarpb.ProcessState{
				NowMs: clock, Process: new(sidecarpb.ProcessSummary), Partitions: []*sidecarpb.PartitionState{p}, Incidents: []*sidecarpb.Incident{{Kind: "halt", Topic: "t", TimeMs: ms}},
			}, now, all)
			incidents = log.All([]*told.Session{liar, honest})
			pod := podwire.Pod(&sidecarpb.StatusResponse{NowMs: now.UnixMilli(), Sessions: []*sidecarpb.SessionStatus{show(liar, true, 1)}, Incidents: podwire.Incidents(incidents)})
			if _, err := json.Marshal(pod); err != nil {
				t.Fatalf("by the clock %d, of %d: %v", clock, ms, err)
			}
		}
	}
	if incidents[0].Time.After(now) {
		t.Errorf("an incident of %v is the newest, at %v", incidents[0].Time, now)
	}
}

// Whatever bytes a peer sends: they are refused, or taken within the bounds, and can be shown.
func FuzzTake(f *testing.F) {
	for _, m := range []*sidecarpb.ProcessState{
		{}, {NowMs: -1, Process: &sidecarpb.ProcessSummary{Lanes: 1 << 31, Done: 1 << 63}},
		{NowMs: 1 << 62, Partitions: []*sidecarpb.PartitionState{good(1), {Epoch: 2, AckMark: -1 << 63, LogEnd: 1<<63 - 1, State: "\x1b[2J"}}},
		{Incidents: []*sidecarpb.Incident{{Kind: "halt", TimeMs: 1<<63 - 1, Count: 1<<32 - 1, Partition: -1}}},
	} {
		b, err := proto.Marshal(&sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_State{State: m}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := new(sidecarpb.DeliveryStreamRequest)
		if wire.Decode(b, m) != nil || m.GetState() == nil {
			return
		}
		s := told.NewLog(1<<20, 1).Session("app", "a")
		s.Take(m.GetState(), now, all)
		if s.Held() > 1<<17 {
			t.Fatalf("%d bytes are held", s.Held())
		}
		got := show(s, true, 1, 2)
		if _, err := json.Marshal(podwire.Pod(&sidecarpb.StatusResponse{Sessions: []*sidecarpb.SessionStatus{got}, Incidents: podwire.Incidents(s.Incidents())})); err != nil {
			t.Fatal(err)
		}
		for _, in := range s.Incidents() {
			if in.Validate() != nil || in.App != "app" || in.Time.After(now) {
				t.Fatalf("%+v", in)
			}
		}
	})
}
