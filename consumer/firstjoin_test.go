//go:build (linux || darwin) && !portable

package consumer

import (
	"os"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The first join of a member is in the file when it is made, even where that is before anybody has
// the client: a process that dies in it would leave a member that nobody knows, and that the group
// waits for.
func TestTheFirstJoinIsInTheFile(t *testing.T) {
	for _, protocol := range []Protocol{ClassicProtocol, ConsumerProtocol} {
		t.Run(protocol.String(), func(t *testing.T) {
			inLab(t, 1, func(t *testing.T, l *lab) {
				cfg := l.config()
				cfg.StateDir, cfg.Protocol = t.TempDir(), protocol
				wantNil(t, os.Chmod(cfg.StateDir, 0o700)) //nolint:gosec // a directory
				c, err := New(cfg)
				wantNil(t, err)
				wantNil(t, c.file.begin())
				defer c.file.end(true)
				opts := []kgo.Opt{kgo.ConsumerGroup(groupName), kgo.ConsumeTopics(topic), kgo.WithHooks(c.file)}
				if protocol == ConsumerProtocol {
					opts = append(opts, kgo.ServerSideBalancer())
				}
				cl := l.newClient(opts...)
				defer cl.Close()
				time.Sleep(time.Second)
				id, _ := memberInFile(t, cfg.StateDir)
				if now, _ := cl.GroupMetadata(); id == "" || id != now {
					t.Errorf("the file has member %q, it is %q", id, now)
				}
			})
		})
	}
}
