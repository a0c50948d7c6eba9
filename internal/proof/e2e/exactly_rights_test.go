package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/ackmark/ackmark/internal/childproc"
	"github.com/ackmark/ackmark/internal/proof/kafkatest"
)

// right is one that docs/exactly-once.md asks for.
type right struct {
	what string
	of   func(s *scenario) *kadm.ACLBuilder
	says string // what is said where it is missing
	ends string // the process that ends for want of it
}

const rightOnTheGroup = "READ on the group"

var rights = []right{
	{"WRITE on the transactional ids", func(s *scenario) *kadm.ACLBuilder {
		return kadm.NewACLs().TransactionalIDs(s.group+"-").ResourcePatternType(kadm.ACLPatternPrefixed).Operations(kadm.OpWrite, kadm.OpDescribe)
	}, "grant WRITE and DESCRIBE on transactional ids with the prefix", sidecarName},
	{rightOnTheGroup, func(s *scenario) *kadm.ACLBuilder {
		return kadm.NewACLs().Groups(s.group).ResourcePatternType(kadm.ACLPatternLiteral).Operations(kadm.OpRead)
	}, "cannot be committed: GROUP_AUTHORIZATION_FAILED", ""},
	{"READ on the inputs", func(s *scenario) *kadm.ACLBuilder {
		return kadm.NewACLs().Topics(s.input).ResourcePatternType(kadm.ACLPatternLiteral).Operations(kadm.OpRead)
	}, "cannot be committed: TOPIC_AUTHORIZATION_FAILED", ""},
	{"WRITE on the outputs", func(s *scenario) *kadm.ACLBuilder {
		return kadm.NewACLs().Topics(s.output).ResourcePatternType(kadm.ACLPatternLiteral).Operations(kadm.OpWrite)
	}, "Grant WRITE and DESCRIBE on the topic to the principal that produces: the sidecar's", "app"},
}

// grant gives a right to the sidecar's principal.
func (s *scenario) grant(r right) {
	s.Helper()
	results, err := s.kafka.Admin().CreateACLs(s.Context(), r.of(s).Allow("User:sidecar").AllowHosts("*"))
	for _, result := range results {
		err = errors.Join(err, result.Err)
	}
	if err != nil {
		s.Fatal(err)
	}
}

// The sidecar's principal has the rights that docs/exactly-once.md names, and no other: that is
// enough. Where one is missing it is named.
func TestExactlyOnceRights(t *testing.T) {
	t.Parallel()
	const at = "listener.name.secured."
	kafka := kafkatest.Start(t, kafkatest.Config{Secured: "SASL_PLAINTEXT", Properties: map[string]string{
		"authorizer.class.name":        "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
		"super.users":                  "User:ANONYMOUS", // of the open listener: the test, the app, the broker
		at + "sasl.enabled.mechanisms": "PLAIN",
		at + "plain.sasl.jaas.config":  `org.apache.kafka.common.security.plain.PlainLoginModule required user_sidecar="s3cret";`,
	}})
	t.Run("all that are asked for", func(t *testing.T) {
		s := newScenario(t, kafka)
		for _, r := range rights {
			s.grant(r)
		}
		sidecar, app := s.restricted()
		f := s.feed(failureRate)
		f.more(failureRate)
		n := f.finish()
		s.caughtUp()
		s.terminate(app, sidecar)
		s.seenOnce(n)
	})
	for _, missing := range rights {
		t.Run("without "+missing.what, func(t *testing.T) {
			s := newScenario(t, kafka)
			for _, r := range rights {
				if r.what != missing.what {
					s.grant(r)
				}
			}
			s.feed(failureRate).more(failureRate)
			sidecar, app := s.restricted()
			kafkatest.Eventually(t, settle, missing.says, func() error {
				for _, p := range []*childproc.Process{sidecar, app} {
					if (p.Name == missing.ends) == p.Running() {
						return fmt.Errorf("%s: %s", p.Name, p.State())
					}
				}
				if log := tail(sidecar, 100) + tail(app, 100); !strings.Contains(log, missing.says) {
					return fmt.Errorf("nobody says so")
				}
				return nil
			})
			if n := s.seen(); len(n) > 0 {
				t.Errorf("%d outputs are there, and nobody may write them", len(n))
			}
			if missing.what != rightOnTheGroup {
				return
			}
			// Another group, whose offsets the sidecar may commit in the same transactions, goes
			// on.
			refused := s.group
			s.group = kafka.Name("other")
			s.grant(missing)
			other := s.app("other", roleApp, map[string]string{envMode: "exactly-once"})
			s.await("commits of the other group", func() error {
				if n := s.committed(s.group); n < failureRate {
					return fmt.Errorf("%d inputs are committed", n)
				}
				return nil
			})
			s.terminate(other)
			s.group = refused
		})
	}
}

// restricted starts a sidecar that is nobody special to the brokers, and an app that may read.
func (s *scenario) restricted() (sidecar, app *childproc.Process) {
	s.Helper()
	args := []string{"sidecar", "--brokers", strings.Join(s.kafka.SecuredAddrs(), ","), "--listen", "unix://" + s.socket(), "--transactional-id", s.group}
	for _, property := range []string{"security.protocol=SASL_PLAINTEXT", "sasl.mechanism=PLAIN", "sasl.username=sidecar", "sasl.password=s3cret"} {
		args = append(args, "--kafka", property)
	}
	sidecar = s.start(sidecarName, build(s.T, "ackmark"), nil, args...)
	return sidecar, s.app("app", roleApp, map[string]string{envMode: "exactly-once", envTimes: "1ms"})
}
