package scenarios

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/proof/lab"
	"github.com/ackmark/ackmark/producer"
)

// What is done above the committed offset stands in the commit's metadata, and is read by whoever
// comes next. In each partition one input is held, so that the mark stands still and everything
// else is in the done-set.
var doneSets = []scenario{
	{name: "done-sets", cfg: lab.Config{Handler: holdOne(0)}, play: func(l *lab.Lab) {
		// The pod dies, and the next one goes on from the done-set; then it dies, too.
		l.StartApp("a")
		l.Feed(300)
		l.Sleep(4 * time.Second)
		l.KillPod()
		l.StartSidecar()
		l.StartApp("b")
		l.Sleep(15 * time.Second)
		l.Feed(100)
		l.Sleep(4 * time.Second)
		l.KillPod()
		l.StartSidecar()
		l.StartApp("c")
	}},
	{name: "done-set damaged", cfg: lab.Config{Handler: holdOne(0)}, play: func(l *lab.Lab) {
		// Somebody's tool puts the commits back, but not as they were.
		putBack(l, func(c kfake.GroupCommit) kfake.GroupCommit {
			c.Metadata = damage(c.Metadata)
			return c
		})
	}},
	{name: "done-set at another offset", cfg: lab.Config{Handler: holdOne(10)}, play: func(l *lab.Lab) {
		// An operator sets the offsets back, with a tool that leaves the metadata where it is.
		putBack(l, func(c kfake.GroupCommit) kfake.GroupCommit {
			if c.Offset == 0 {
				return kfake.GroupCommit{LeaderEpoch: -1}
			}
			c.Offset /= 2
			return c
		})
	}},
	{name: "done-set of a deleted topic", cfg: lab.Config{Handler: holdOne(0)}, play: func(l *lab.Lab) {
		// The topic is deleted and created again; a tool puts the commits back.
		a := l.StartApp("a")
		l.Feed(300)
		l.Sleep(4 * time.Second)
		before := l.Commits()
		l.RecreateTopic()
		l.Sleep(20 * time.Second)
		_ = a.Stop()
		l.SetOffsets(before)
		l.Feed(300)
		l.StartApp("b")
	}},
}

// holdOne holds the input at this offset of each partition for the first 22 seconds.
func holdOne(offset int64) lab.Handler {
	return func(l *lab.Lab, in *consumer.Message) ([]producer.Record, error) {
		if d := 22*time.Second - time.Since(bubbleStart); in.Offset == offset && d > 0 {
			time.Sleep(d)
		}
		return lab.Upper(l, in)
	}
}

// putBack lets a pod die with done-sets, changes its commits, and starts the next one.
func putBack(l *lab.Lab, change func(kfake.GroupCommit) kfake.GroupCommit) {
	l.StartApp("a")
	l.Feed(300)
	l.Sleep(4 * time.Second)
	l.KillPod()
	l.Sleep(2 * lab.DefaultSessionTimeout) // the group is empty
	commits := l.Commits()
	for p, c := range commits {
		commits[p] = change(c)
	}
	l.SetOffsets(commits)
	l.StartSidecar()
	l.StartApp("b")
}

// damage sets bits in the middle of a done-set's body, so that it says more than is done. It checks
// that the text had been sound.
func damage(text string) string {
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(text, "am1."))
	if err != nil || len(raw) < 40 || binary.BigEndian.Uint32(raw) != crc32.Checksum(raw[4:], crc32.MakeTable(crc32.Castagnoli)) {
		return ""
	}
	for i := 36; i < len(raw)-1; i++ {
		raw[i] = 0xff
	}
	if damaged := "am1." + base64.RawURLEncoding.EncodeToString(raw); damaged != text {
		return damaged
	}
	return ""
}
