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
	"github.com/ackmark/ackmark/internal/podwire"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/producer/internal/resend"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// featureResume is the ability to go on with a session on a new stream.
const featureResume = "resume"

// featureInherit is the ability to wait, before a static member joins its group, for the will of
// its former process.
const featureInherit = "inherit"

// featureRoutes is the ability to send a part of a topic's keys to Kafka directly.
const featureRoutes = "routes"

// featureEpochs is the ability to execute wills of members of the consumer protocol, static ones
// too: those leave for now, and a sidecar that does not know it would not leave for them at all.
const featureEpochs = "epochs"

// featureCredit is the ability to take a smaller credit.
const featureCredit = "credit"

// session is this client in the sidecar's eyes. The client's mu guards it.
type session struct {
	id      string
	begun   bool   // the sidecar has welcomed this id
	sidecar string // which sidecar that was
	resumes bool   // it can go on after its stream broke
	afresh  bool   // the next Hello must not ask for that: what the sidecar said of the session cannot be true
	gone    bool   // the sidecar's process is: nobody listens at its address
	cluster string // the Kafka cluster that the sidecar delivers to, "": not known
	warned  bool   // that there will be no will
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

// sayHello says who this is and, of a session that goes on, which reports are missing.
func (c *shared) sayHello() *sidecarpb.Hello {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := &sidecarpb.Hello{Version: protocolVersion, App: c.cfg.App, SessionId: c.session.id, Token: c.cfg.Token, ClientVersion: clientVersion(),
		ClientId: c.name}
	if c.committing {
		h.Features = []string{featureExactlyOnce}
	}
	if c.session.afresh {
		return h
	}
	h.Features = append(h.Features, featureResume, featureInherit, featureEpochs, featureCredit, podwire.Feature)
	if c.cfg.routes != nil {
		h.Features = append(h.Features, featureRoutes)
	}
	if !c.session.resumes {
		return h
	}
	bare := proto.CloneOf(h)
	h.LastReport = c.books.queue.LastReport()
	h.PreviousSidecarId = c.session.sidecar
	for _, r := range c.books.queue.Unreported() {
		h.Unreported = append(h.Unreported, &sidecarpb.Range{First: r.First, Count: r.Count})
	}
	if len(h.Unreported) > wire.MaxUnreported || proto.Size(h) > min(cmp.Or(c.books.maxUnit, wire.MaxColdBytes), wire.MaxColdBytes) { // reports came in so many pieces that what is left does not fit
		c.session.resumes = false
		return bare
	}
	return h
}

// welcomed begins a session, or goes on with it. The caller holds mu. An error means that what
// Welcome says of the session cannot be true (S12).
func (c *shared) welcomed(s *stream) error {
	w := s.welcome
	// What was sent before may be committed. Also where the session goes on: the stream that broke
	// may not have told it of all assignments, or it was still asking the group when the stream
	// broke.
	again := c.committing && c.session.begun
	if w.GetResumed() {
		if err := c.session.mayResume(w, c.books.queue); err != nil {
			c.lost()
			c.session.afresh = true
			return fmt.Errorf("protocol error: %w", err)
		}
		c.books.queue.Resume(w.GetHighestSequence(), c.books.unfit)
		c.fall.sent.resumed(c.books.queue.Unsent())
	} else {
		c.lost()
		c.books.queue.Rebuild(0, 1, c.books.unfit)
		c.fall.sent = sentExpiry{}
	}
	c.session = session{id: c.session.id, begun: true, sidecar: w.GetSidecarId(), resumes: slices.Contains(w.GetFeatures(), featureResume), cluster: w.GetClusterId()}
	// Before the memberships of now: what was released is committed under that of its release (S2).
	s.controls = append(s.controls, c.releases.messages()...)
	c.books.assigned.Each(func(m Membership, live []Assignment) {
		list := c.assignTo(s, m, live)
		for _, a := range list {
			for _, p := range a.GetAssign().GetPartitions() {
				p.Resumed = again
			}
		}
		s.controls = append(s.controls, list...)
	})
	s.controls = append(s.controls, c.inherits.messages(w)...)
	return nil
}

// assignTo tells a sidecar of assignments, and this process's user of a will that there will not
// be. The caller holds mu.
func (c *shared) assignTo(s *stream, m Membership, list []Assignment) []*sidecarpb.DeliveryStreamRequest {
	c.warnOfCluster(m)
	if m.InstanceID != "" && m.Protocol == ConsumerProtocol && !slices.Contains(s.welcome.GetFeatures(), featureEpochs) {
		c.warnOfWill("the sidecar is of an older version, and cannot leave the group for a static member of the consumer protocol: "+
			"if this process dies, nobody commits for it, and its partitions wait for the session timeout; renew the sidecar",
			"group", m.Group, "instance", m.InstanceID, "sidecar_version", s.welcome.GetServerVersion())
		m = Membership{Group: m.Group, ClusterID: m.ClusterID, Consumer: m.Consumer} // without a member there is no will
	}
	return assignMessages(m, list, c.books.maxUnit)
}

// warnOfCluster says that the sidecar cannot commit for this process. The caller holds mu.
func (c *shared) warnOfCluster(m Membership) {
	if clusterid.Differ(m.ClusterID, c.session.cluster) {
		c.warnOfWill("the sidecar delivers to another Kafka cluster than the inputs come from: if this process dies, nobody commits for it, and what it did since its last commit is done again",
			"group", m.Group, "input_cluster", m.ClusterID, "sidecar_cluster", c.session.cluster)
	}
}

// warnOfWill says why there will be none, once a stream. The caller holds mu.
func (c *shared) warnOfWill(why string, about ...any) {
	if !c.session.warned {
		c.session.warned = true
		c.cfg.Logger.Warn(why, about...)
	}
}

// mayResume tells why what a sidecar says of the session that it goes on with cannot be true.
func (s *session) mayResume(w *sidecarpb.Welcome, sent *resend.Queue[owner, Error]) error {
	switch {
	case !s.resumes:
		return errors.New("the sidecar goes on with a session that this client does not know")
	case w.GetSidecarId() != s.sidecar:
		return fmt.Errorf("sidecar %q goes on with a session of sidecar %q", w.GetSidecarId(), s.sidecar)
	}
	return sent.Received(w.GetHighestSequence())
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

func errFenced(retryable bool) *Error {
	return &Error{Code: CodeSessionFenced, Partition: -1, Retryable: retryable,
		Message: "the sidecar took this process for dead and closed its session: its partitions have left it, their inputs are read again by the next owner"}
}
