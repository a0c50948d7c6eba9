package producer

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/ackmark/ackmark/internal/clusterid"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// featureResume is the ability to go on with a session on a new stream.
const featureResume = "resume"

// session is this client in the sidecar's eyes. The client's mu guards it.
type session struct {
	id      string
	begun   bool   // the sidecar has welcomed this id
	sidecar string // which sidecar that was
	resumes bool   // it can go on after its stream broke
	afresh  bool   // the next Hello must not ask for that: what the sidecar said of the session cannot be true
	gone    bool   // the sidecar's process is: nobody listens at its address
	cluster string // the Kafka cluster that the sidecar delivers to, "": not known
	warned  bool   // that it is not the inputs'
}

// maxSessionID is the protocol's limit.
const maxSessionID = 64

// renewed returns the session's successor. The id must not be one that this or an earlier process
// had: sidecars remember which ones are over.
func (s session) renewed(base string) session {
	suffix := "." + randomName(4)
	return session{id: base[:min(len(base), maxSessionID-len(suffix))] + suffix}
}

// randomName is one of so many random bytes.
func randomName(bytes int) string {
	name := make([]byte, bytes)
	_, _ = rand.Read(name) // never fails
	return hex.EncodeToString(name)
}

// release is a Release that the sidecar has not answered. Without a stream it waits for one that
// goes on with the session; its epochs are told there again, because a will must not commit them.
type release struct {
	id       uint64
	epochs   []uint64
	answered chan struct{}
}

func (r *release) message() *sidecarpb.DeliveryStreamRequest {
	return &sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_Release{
		Release: &sidecarpb.Release{RequestId: r.id, Epochs: r.epochs}}}
}

// hello says who this is and, of a session that goes on, which reports are missing.
func (c *client) hello() *sidecarpb.Hello {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := &sidecarpb.Hello{Version: protocolVersion, App: c.cfg.App, SessionId: c.session.id, Token: c.cfg.Token, ClientVersion: clientVersion(),
		ClientId: c.name}
	if c.session.afresh {
		return h
	}
	h.Features = []string{featureResume, featureInherit}
	if !c.session.resumes {
		return h
	}
	bare := proto.CloneOf(h)
	h.LastReport = c.win.lastReport()
	h.PreviousSidecarId = c.session.sidecar
	for _, r := range c.win.unreported() {
		h.Unreported = append(h.Unreported, &sidecarpb.Range{First: r.First, Count: r.Count})
	}
	if len(h.Unreported) > wire.MaxUnreported || proto.Size(h) > min(cmp.Or(c.maxUnit, wire.MaxColdBytes), wire.MaxColdBytes) { // reports came in so many pieces that what is left does not fit
		c.session.resumes = false
		return bare
	}
	return h
}

// welcomed begins a session, or goes on with it. The caller holds mu. An error means that what
// Welcome says of the session cannot be true (S12).
func (c *client) welcomed(s *stream) error {
	w := s.welcome
	if w.GetResumed() {
		if err := c.mayResume(w); err != nil {
			c.lost()
			c.session.afresh = true
			return fmt.Errorf("protocol error: %w", err)
		}
		c.win.resume(w.GetHighestSequence(), c.unfit)
		c.fall.eternal = min(c.fall.eternal, c.win.unsent)
	} else {
		c.lost()
		c.win.rebuild(0, 1, c.unfit)
		c.fall.expiry, c.fall.eternal = 0, 0
	}
	c.session = session{id: c.session.id, begun: true, sidecar: w.GetSidecarId(), resumes: slices.Contains(w.GetFeatures(), featureResume), cluster: w.GetClusterId()}
	c.epochs.each(func(m Membership, live []Assignment) {
		c.warnOfCluster(m)
		s.controls = append(s.controls, assignMessages(m, live, c.maxUnit)...)
	})
	for id, in := range c.heritage.asked {
		c.tellHeir(s, in, id)
	}
	var ids []uint64
	for id := range c.releases {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		s.controls = append(s.controls, c.releases[id].message())
	}
	return nil
}

// warnOfCluster says, once a stream, that the sidecar cannot commit for this process. The caller
// holds mu.
func (c *client) warnOfCluster(m Membership) {
	if c.session.warned || !clusterid.Differ(m.ClusterID, c.session.cluster) {
		return
	}
	c.session.warned = true
	c.cfg.Logger.Warn("the sidecar delivers to another Kafka cluster than the inputs come from: if this process dies, nobody commits for it, and what it did since its last commit is done again",
		"group", m.Group, "input_cluster", m.ClusterID, "sidecar_cluster", c.session.cluster)
}

// unfit names the error of units that may not be sent again.
func (c *client) unfit(u slotInfo) *Error {
	if err := c.notHeld(u); err != nil {
		return err
	}
	return c.tooLarge(int(u.bytes))
}

func (c *client) mayResume(w *sidecarpb.Welcome) error {
	switch {
	case !c.session.resumes:
		return errors.New("the sidecar goes on with a session that this client does not know")
	case w.GetSidecarId() != c.session.sidecar:
		return fmt.Errorf("sidecar %q goes on with a session of sidecar %q", w.GetSidecarId(), c.session.sidecar)
	}
	return c.win.received(w.GetHighestSequence())
}

// lost is called when the session cannot go on: what the sidecar had of released epochs will never
// be reported. The caller holds mu.
func (c *client) lost() {
	c.session.resumes = false
	c.letGo()
}

// letGo ends the wait for what the sidecar had of released epochs. The caller holds mu.
func (c *client) letGo() {
	for id, r := range c.releases {
		close(r.answered) // the sidecar forgets these units, and we do not send them again
		delete(c.releases, id)
	}
	c.win.failWhere(0, c.notHeld)
	c.afterReports()
}

// fencedError is the sidecar's word that it has closed the session for good: it took this process
// for dead, has committed what it had finished and left the group for it.
type fencedError struct{ said string }

// Error implements error.
func (e *fencedError) Error() string {
	return "producer: the sidecar closed this session, it took this process for dead: " + e.said
}

// asFenced recognises it in what a stream ended with.
func asFenced(err error) (*fencedError, bool) {
	if f, ok := errors.AsType[*fencedError](err); ok {
		return f, true
	}
	st, ok := errors.AsType[interface {
		error
		GRPCStatus() *status.Status
	}](err)
	if !ok || st.GRPCStatus().Code() != codes.Aborted || !strings.HasPrefix(st.GRPCStatus().Message(), CodeSessionFenced) {
		return nil, false
	}
	return &fencedError{st.GRPCStatus().Message()}, true
}

// OnFenced implements [Fencer].
func (c *client) OnFenced(fn func(*Error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.onFenced = append(c.onFenced, fn)
}

// fenced ends a session that the sidecar has closed. What it had is not taken to another one: the
// partitions may have new owners already. An id that was never welcomed was a former process's, or
// was left behind for the direct way: then nothing of ours was in it.
func (c *client) fenced(why *fencedError) {
	c.mu.Lock()
	defer c.mu.Unlock()
	begun := c.session.begun
	c.session = c.session.renewed(c.cfg.SessionID)
	if !begun {
		c.cfg.Logger.Info("the sidecar has closed a session of this name before: going on under another one", "session", c.session.id, "reason", why.said)
		return
	}
	c.cfg.Logger.Warn("the sidecar closed this session: its partitions are lost", "target", c.cfg.Target, "reason", why.said, "session", c.session.id)
	c.epochs.forget()
	c.win.failWhere(0, func(u slotInfo) *Error { return errFenced(u.epoch == 0) })
	c.lost()
	for _, fn := range slices.Clone(c.onFenced) {
		c.tasks.Go(func() { fn(errFenced(false)) })
	}
}

func errFenced(retryable bool) *Error {
	return &Error{Code: CodeSessionFenced, Partition: -1, Retryable: retryable,
		Message: "the sidecar took this process for dead and closed its session: its partitions have left it, their inputs are read again by the next owner"}
}
