package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/clusterid"
	"github.com/ackmark/ackmark/internal/groupcommit"
	"github.com/ackmark/ackmark/internal/lastwill"
	"github.com/ackmark/ackmark/internal/sessionfile"
)

// willTime bounds all that is done for dead processes before this one joins. A join would wait for
// the dead members' sessions, so a coordinator that is slow to answer is given most of one. A file
// whose will takes longer stays for who comes next.
const willTime = 20 * time.Second

// How a will of StateDir ended.
const (
	willComplete   = "complete"      // nothing repeats of what was done
	willSuperseded = "superseded"    // the group had gone on without the member
	willElsewhere  = "other_cluster" // it stays for a consumer of that cluster
	willFailed     = "failed"        // it was refused
	willLate       = "late"          // it took longer than willTime: it stays
)

// heir executes the wills of processes that had this consumer's StateDir and group, and died.
type heir struct {
	cfg     *Config
	log     *slog.Logger
	brokers *brokers
	metrics *metrics
}

// inherit is called before this consumer joins: it would wait for the dead members' sessions else,
// and take up their partitions where they last committed.
func (h *heir) inherit(ctx context.Context) {
	if h.cfg.state == nil {
		return
	}
	orphans, err := h.cfg.state.Orphans(func(path string, why error) {
		h.log.Warn("session file without a will: what its process did since its last commit is done again", "file", path, "err", why)
	})
	if err != nil {
		h.log.Warn("the state directory cannot be read: the wills of dead processes are not executed", "field", configName+".StateDir", "dir", h.cfg.StateDir, "err", err)
	}
	orphans = slices.DeleteFunc(orphans, func(o *sessionfile.Orphan) bool {
		switch {
		case len(o.Memberships) == 0 && o.ID == "": // it died before it joined, or left
			o.Forget()
		case !h.isMine(o):
			o.Keep()
		default:
			return false
		}
		return true
	})
	if len(orphans) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, willTime)
	defer cancel()
	cl, err := h.brokers.asking()
	if err != nil { // so it is for the client that is to join
		for _, o := range orphans {
			o.Keep()
		}
		return
	}
	defer cl.Close()
	for _, o := range orphans {
		h.execute(ctx, cl, o)
	}
}

// isMine tells whether a file is of a consumer of this group. One with a session's id is a
// sidecar's: that its writer is dead says nothing about the member.
func (h *heir) isMine(o *sessionfile.Orphan) bool {
	return o.ID == "" && slices.ContainsFunc(o.Memberships, func(m sessionfile.Membership) bool { return m.Group == h.cfg.Group })
}

func (h *heir) execute(ctx context.Context, cl *kgo.Client, o *sessionfile.Orphan) {
	keep := false
	for i := range o.Memberships {
		m := &o.Memberships[i]
		if m.Group != h.cfg.Group {
			keep = true
			continue
		}
		begun := time.Now()
		did, outcome, err := h.carryOut(ctx, cl, o, m)
		keep = keep || outcome == willElsewhere || outcome == willLate
		h.metrics.will(outcome)
		log := h.log.Info
		if outcome != willComplete {
			log = h.log.Warn
		}
		log("will executed", "member", m.ID, "instance", m.Instance, "generation", m.Generation, "pid", o.Process.PID, "outcome", outcome,
			"partitions", did.Partitions, "left", did.Left, "damaged", o.Damaged, "took", time.Since(begun), "err", err)
	}
	if keep {
		o.Keep()
	} else {
		o.Forget()
	}
}

// carryOut executes the will for one membership. Its process is dead: the lock of its file went
// with it.
func (h *heir) carryOut(ctx context.Context, cl *kgo.Client, o *sessionfile.Orphan, m *sessionfile.Membership) (did lastwill.Result, outcome string, err error) {
	ours, err := clusterid.Of(ctx, cl.Request)
	if err != nil {
		return did, willLate, h.brokers.unreachable(err)
	}
	if clusterid.Differ(m.Cluster, ours) {
		return did, willElsewhere, fmt.Errorf("its group is in Kafka cluster %q, Config.Brokers are of %q", m.Cluster, ours)
	}
	will := lastwill.Will{
		Member:    groupcommit.Member{Group: m.Group, MemberID: m.ID, InstanceID: m.Instance, Generation: m.Generation, Protocol: m.Protocol},
		Standings: standings(o, m), Proven: true, Principal: "this principal", Log: h.log,
	}
	did = will.Execute(ctx, lastwill.On(ctx, cl, "ackmark: the next process executed this one's will"))
	err = errors.Join(did.Superseded, did.Err)
	switch {
	case ctx.Err() != nil && !did.Left:
		outcome = willLate
	case did.Err != nil:
		outcome = willFailed
	case did.Superseded != nil && len(will.Standings) > 0:
		outcome = willSuperseded
	default:
		outcome, err = willComplete, nil
	}
	return did, outcome, err
}

// standings are where the assignments of a membership stood.
func standings(o *sessionfile.Orphan, m *sessionfile.Membership) []lastwill.Standing {
	var all []lastwill.Standing
	for i := range o.Assignments {
		if a := &o.Assignments[i]; a.Group == m.Group && a.Consumer == m.Consumer {
			all = append(all, lastwill.Standing{Epoch: a.Epoch, Topic: a.Topic, TopicID: a.TopicID, Partition: a.Partition, Mark: a.Mark, Done: a.Done})
		}
	}
	return all
}
