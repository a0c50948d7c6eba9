package lab

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
)

// RandomConfig draws a pod from a seed.
func RandomConfig(seed uint64) Config {
	r := rand.New(rand.NewPCG(seed, 0xc0f))
	cfg := Config{
		Seed: seed, Partitions: 1 + r.Int32N(8), Keys: 1 + r.IntN(60), Direct: r.IntN(4) == 0, Concurrency: 1 + r.IntN(8),
		Order: pipeline.Order(r.IntN(2)), Work: time.Duration(1+r.IntN(40)) * time.Millisecond,
	}
	switch r.IntN(4) {
	case 0:
		cfg.Handler, cfg.DeadLetter = Trouble, true
	case 1:
		cfg.Handler, cfg.PerInput = Thrice, 3
	}
	records, session, commitAfter := 50+r.IntN(2000), 6+r.IntN(10), r.IntN(3)*50
	cfg.App = func(p *pipeline.Config) {
		p.Consumer.MaxRecords, p.Consumer.SessionTimeout, p.Consumer.CommitAfter = records, time.Duration(session)*time.Second, commitAfter
	}
	if p, set := ProtocolFromEnv(); set {
		cfg.Protocol = p
	} else if cfg.Protocol = consumer.ClassicProtocol; r.IntN(2) == 0 {
		cfg.Protocol = consumer.ConsumerProtocol
	}
	return cfg
}

// Schedule draws events from the lab's seed and lets them loose on the pod: processes that die,
// stop and come, links that break in every way, brokers that fail, move and lie. Most of them end
// after a while, so that several are there at once.
func Schedule(l *Lab) {
	s := &schedule{l: l}
	for range 1 + l.Rand.IntN(3) {
		s.startApp()
	}
	events := 8 + l.Rand.IntN(16)
	l.FeedOver(300+l.Rand.IntN(900), time.Duration(events)*1500*time.Millisecond)
	for range events {
		s.sleep(time.Duration(l.Rand.Int64N(int64(3 * time.Second))))
		l.restartSidecar()
		s.event()
	}
	s.sleep(time.Duration(l.Rand.Int64N(int64(10 * time.Second))))
}

type schedule struct {
	l    *Lab
	undo []undo // by time
}

type undo struct {
	at time.Time
	fn func()
}

// later undoes an event after a random time: mostly short, sometimes longer than any session.
func (s *schedule) later(fn func()) {
	d := time.Duration(s.l.Rand.Int64N(int64(4 * time.Second)))
	if s.l.Rand.IntN(4) == 0 {
		d *= 6
	}
	s.undo = append(s.undo, undo{time.Now().Add(d), fn})
	slices.SortStableFunc(s.undo, func(a, b undo) int { return cmp.Compare(a.at.UnixNano(), b.at.UnixNano()) })
}

func (s *schedule) sleep(d time.Duration) {
	end := time.Now().Add(d)
	for len(s.undo) > 0 && !s.undo[0].at.After(end) {
		u := s.undo[0]
		s.undo = s.undo[1:]
		time.Sleep(time.Until(u.at))
		u.fn()
	}
	time.Sleep(time.Until(end))
}

func (s *schedule) event() {
	l := s.l
	app := s.app()
	if app == nil {
		s.startApp()
		return
	}
	switch n := l.Rand.IntN(24); n {
	case 0, 1:
		if len(l.Apps()) < 4 {
			s.startApp()
		}
	case 2, 3:
		app.Kill()
	case 4:
		s.stopApp(app)
	case 5:
		app.CutBrokers()
		s.later(app.HealBrokers)
	case 6:
		app.BlackholeBrokers()
		s.later(app.HealBrokers)
	case 7:
		app.SlowBrokers(time.Duration(l.Rand.IntN(300)) * time.Millisecond)
		s.later(app.HealBrokers)
	case 8:
		l.MoveLeaders()
	case 9:
		l.MoveCoordinator()
	case 10, 11, 12:
		s.fault()
		if l.cfg.ExactlyOnce {
			s.transactionFault()
		}
	case 13:
		app.Pause()
		s.later(app.Resume)
	case 14:
		s.podKilled()
	case 15:
		app.Kill()
		if other := s.app(); other != nil {
			other.Kill()
		}
	default:
		switch {
		case l.cfg.Direct:
			s.fault()
		case l.cfg.ExactlyOnce && l.Rand.IntN(3) == 0:
			s.transactionEvent()
		default:
			s.sidecarEvent(n, app)
		}
	}
}

func (s *schedule) app() *App {
	apps := s.l.Apps()
	if len(apps) == 0 {
		return nil
	}
	return apps[s.l.Rand.IntN(len(apps))]
}

// stopApp does not judge: with broken links a shutdown may have to abandon something.
func (s *schedule) stopApp(a *App) {
	if err := a.Stop(); err != nil {
		s.l.Note("%s ended with: %v", a.Name, err)
		s.l.Exited(a)
	}
}

func (s *schedule) sidecarEvent(n int, app *App) {
	l := s.l
	switch n {
	case 16, 17:
		if l.Rand.IntN(3) == 0 {
			if err := l.StopSidecar(); err != nil {
				l.Note("the sidecar ended with: %v", err)
			}
		} else {
			l.KillSidecar()
		}
		s.later(l.StartSidecar)
	case 18:
		[]func(){app.CutSidecar, app.BlackholeSidecar, func() { app.HalfOpenSidecar(l.Rand.IntN(2) == 0) }}[l.Rand.IntN(3)]()
		s.later(app.HealSidecar)
	case 19:
		if l.Rand.IntN(2) == 0 {
			l.CutSidecarBrokers()
		} else {
			l.BlackholeSidecarBrokers()
		}
		s.later(l.HealSidecarBrokers)
	case 20:
		app.BreakStream()
	case 21:
		l.PauseSidecar()
		s.later(l.ResumeSidecar)
	case 22:
		s.restarted(app)
	default:
		l.SlowSidecarBrokers(time.Duration(l.Rand.IntN(300)) * time.Millisecond)
		app.SlowSidecar(time.Duration(l.Rand.IntN(300)) * time.Millisecond)
		s.later(l.HealSidecarBrokers)
		s.later(app.HealSidecar)
	}
}

// podKilled ends the whole pod; apps and a sidecar come back with the next events.
func (s *schedule) podKilled() {
	s.l.KillPod()
	if !s.l.cfg.Direct {
		s.later(s.l.StartSidecar)
	}
}

// restarted kills an app of whose death there is no proof but its broken stream, and starts it
// again under the same session id, mostly before anybody takes it for dead.
func (s *schedule) restarted(app *App) {
	as := app.as
	as.Session = cmp.Or(as.Session, app.Name)
	app.Kill()
	s.sleep(time.Duration(s.l.Rand.Int64N(int64(1500 * time.Millisecond))))
	s.l.StartAppAs("app", as)
}

// startApp starts one whose death is mostly proven by its pid, and which is now and then a static
// member.
func (s *schedule) startApp() {
	as := AppConfig{Unproven: s.l.Rand.IntN(4) == 0}
	if groups := s.l.cfg.Groups; groups > 1 {
		as.Group = s.l.Rand.IntN(groups)
	}
	if s.l.Rand.IntN(6) == 0 {
		as.Instance = fmt.Sprintf("static-%d", s.l.Rand.IntN(3))
		if slices.ContainsFunc(s.l.Apps(), func(a *App) bool { return a.as.Instance == as.Instance && a.as.Group == as.Group }) {
			as.Instance = ""
		}
	}
	s.l.StartAppAs("app", as)
}

// lies are what brokers answer to what, applied or not.
var lies = []kfake.Fault{
	{Keys: []kmsg.Key{kmsg.Produce}, Topic: Out, Err: kerr.RequestTimedOut},
	{Keys: []kmsg.Key{kmsg.Produce}, Topic: Out, Err: kerr.NotEnoughReplicasAfterAppend},
	{Keys: []kmsg.Key{kmsg.Produce}, Topic: Out, Err: kerr.NotEnoughReplicas},
	{Keys: []kmsg.Key{kmsg.Produce}, Topic: Out, Err: kerr.NotLeaderForPartition},
	{Keys: []kmsg.Key{kmsg.Fetch}, Topic: In, Err: kerr.NotLeaderForPartition},
	{Keys: []kmsg.Key{kmsg.OffsetCommit}, Group: Group, Err: kerr.RequestTimedOut},
	{Keys: []kmsg.Key{kmsg.OffsetCommit}, Group: Group, Err: kerr.NotCoordinator},
	{Keys: []kmsg.Key{kmsg.OffsetCommit}, Group: Group, Err: kerr.CoordinatorLoadInProgress},
	{Keys: []kmsg.Key{kmsg.OffsetCommit}, Group: Group, Err: kerr.UnknownMemberID},
	{Keys: []kmsg.Key{kmsg.OffsetCommit}, Group: Group, Err: kerr.IllegalGeneration},
	{Keys: []kmsg.Key{kmsg.OffsetCommit}, Group: Group, Err: kerr.RebalanceInProgress},
	{Keys: []kmsg.Key{kmsg.Heartbeat}, Group: Group, Err: kerr.UnknownMemberID},
	{Keys: []kmsg.Key{kmsg.Heartbeat}, Group: Group, Err: kerr.IllegalGeneration},
	{Keys: []kmsg.Key{kmsg.Heartbeat, kmsg.OffsetFetch}, Group: Group, Err: kerr.CoordinatorLoadInProgress},
	{Keys: []kmsg.Key{kmsg.JoinGroup, kmsg.SyncGroup}, Group: Group, Err: kerr.CoordinatorNotAvailable},
}

// epochLies are what they answer in the consumer protocol instead of what a classic member is told.
var epochLies = map[*kerr.Error]kfake.Fault{
	kerr.IllegalGeneration:         {Keys: []kmsg.Key{kmsg.OffsetCommit}, Group: Group, Err: kerr.StaleMemberEpoch},
	kerr.UnknownMemberID:           {Keys: []kmsg.Key{kmsg.ConsumerGroupHeartbeat}, Group: Group, Err: kerr.UnknownMemberID},
	kerr.RebalanceInProgress:       {Keys: []kmsg.Key{kmsg.ConsumerGroupHeartbeat}, Group: Group, Err: kerr.FencedMemberEpoch},
	kerr.CoordinatorNotAvailable:   {Keys: []kmsg.Key{kmsg.ConsumerGroupHeartbeat}, Group: Group, Err: kerr.CoordinatorNotAvailable},
	kerr.CoordinatorLoadInProgress: {Keys: []kmsg.Key{kmsg.ConsumerGroupHeartbeat, kmsg.OffsetFetch}, Group: Group, Err: kerr.CoordinatorLoadInProgress},
}

func (s *schedule) fault() {
	f := lies[s.l.Rand.IntN(len(lies))]
	if other, ok := epochLies[f.Err]; ok && s.l.cfg.Protocol == consumer.ConsumerProtocol {
		f = other
	}
	f.Count = 1 + s.l.Rand.IntN(6)
	s.l.Fault(f)
}
