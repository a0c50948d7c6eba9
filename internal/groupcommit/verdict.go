package groupcommit

import (
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Verdict is what an error of the coordinator, or of the way to it, means for who commits. The
// order is that of gravity: of several answers the gravest is that of the commit.
type Verdict uint8

const (
	// Accepted: no error.
	Accepted Verdict = iota
	// Recreated: the topic is another one than the offsets are of. They are never committed.
	Recreated
	// Refused: this, for now or for good; what follows is not touched by it.
	Refused
	// Again: it passes. The commit is made again, from what is true by then.
	Again
	// Ousted: the membership is over. Somebody else has the partitions, or will.
	Ousted
	// Forbidden: the coordinator refuses this member for good; somebody has to change something.
	Forbidden
)

// String is for logs and tests.
func (v Verdict) String() string {
	return [...]string{"accepted", "recreated", "refused", "again", "ousted", "forbidden"}[v]
}

// ErrStale says that between the snapshot and the request the membership changed, or an assignment
// ended. A fresh snapshot tells what is still there to commit.
var ErrStale = errors.New("the membership changed while a commit was on its way")

// verdicts is the table. What Kafka's protocol calls retriable and is not named here passes
// (Again); what else a broker says is Refused.
var verdicts = map[*kerr.Error]Verdict{
	kerr.UnknownTopicID:      Recreated,
	kerr.InconsistentTopicID: Recreated,

	kerr.TopicAuthorizationFailed: Refused, // of one topic: the others are committed

	kerr.RebalanceInProgress:    Again,
	kerr.StaleMemberEpoch:       Again, // KIP-848: the member is in the group, and its epoch is another one by now
	kerr.OffsetMetadataTooLarge: Again, // next time without

	kerr.IllegalGeneration: Ousted,
	kerr.UnknownMemberID:   Ousted,
	kerr.FencedMemberEpoch: Ousted,

	kerr.FencedInstanceID:           Forbidden,
	kerr.UnreleasedInstanceID:       Forbidden,
	kerr.GroupAuthorizationFailed:   Forbidden,
	kerr.ClusterAuthorizationFailed: Forbidden,
	kerr.InvalidGroupID:             Forbidden,
	kerr.InconsistentGroupProtocol:  Forbidden,
	kerr.GroupMaxSizeReached:        Forbidden,
	kerr.InvalidSessionTimeout:      Forbidden,
}

// Judge looks an error up. What is no broker's is the network's, and passes.
func Judge(err error) Verdict {
	if err == nil {
		return Accepted
	}
	if errors.Is(err, kgo.ErrClientClosed) {
		return Refused
	}
	if errors.Is(err, ErrStale) {
		return Again
	}
	ke, broker := errors.AsType[*kerr.Error](err)
	if !broker {
		return Again
	}
	if v, named := verdicts[ke]; named {
		return v
	}
	if ke.Retriable {
		return Again
	}
	return Refused
}

// Worse is the graver of two errors; of equals the first.
func Worse(a, b error) error {
	if Judge(b) > Judge(a) {
		return b
	}
	return a
}

// Who is whom a remedy is for.
type Who struct {
	Principal      string // "this principal" if empty
	InstanceID     string
	SessionTimeout time.Duration
	Credentials    string // where they are set
}

// Remedy says what to do about an error, in the words of whoever reads it.
func Remedy(err error, who Who) string {
	principal := who.Principal
	if principal == "" {
		principal = "this principal"
	}
	ke, _ := errors.AsType[*kerr.Error](err)
	switch ke {
	case kerr.FencedInstanceID, kerr.UnreleasedInstanceID:
		return fmt.Sprintf("another process runs with InstanceID %q: give each process its own", who.InstanceID)
	case kerr.GroupAuthorizationFailed:
		return "grant READ on the group to " + principal
	case kerr.TopicAuthorizationFailed:
		return "grant READ on the topic to " + principal
	case kerr.ClusterAuthorizationFailed:
		return "grant the cluster right to " + principal
	case kerr.InvalidGroupID:
		return "use another group name"
	case kerr.InconsistentGroupProtocol:
		return "other members of the group use another balancer: use another group, or set Options to theirs with AllowEager"
	case kerr.GroupMaxSizeReached:
		return "raise group.max.size on the brokers, or run fewer members"
	case kerr.InvalidSessionTimeout:
		return fmt.Sprintf("SessionTimeout %s is outside the brokers' group.min/max.session.timeout.ms", who.SessionTimeout)
	case kerr.SaslAuthenticationFailed:
		return "check the credentials in " + who.Credentials
	case kerr.OffsetMetadataTooLarge:
		return "set offset.metadata.max.bytes to its default on the brokers"
	}
	return "see the broker's log"
}
