//go:build !portable

package sidecar_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sys/unix"

	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// loglines is a log that may be read while it is written.
type loglines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *loglines) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(b)
}

func (w *loglines) count(what string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Count(w.text.String(), what)
}

// The state directory's file system is full: sessions go on without a file, which is said once. It
// is looked now and then whether there is room, and then they are written down.
func TestTheStateDirectorysFileSystemIsFull(t *testing.T) {
	at := t.TempDir()
	if err := unix.Mount("none", at, "tmpfs", 0, "size=200k"); err != nil {
		t.Skipf("this system has no tmpfs that this process may mount: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
	dir, ballast := filepath.Join(at, "state"), filepath.Join(at, "ballast")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	fill := func() { // all that there is
		_ = os.WriteFile(ballast, make([]byte, 1<<20), 0o600)
	}
	fill()
	var log loglines
	inDeath(t, func(c *sidecar.Config) { c.StateDir, c.Logger = dir, slog.New(slog.NewTextHandler(&log, nil)) }, func(t *testing.T, b *bubble) {
		m := b.mortal(t, "s", "")
		id := b.topicID(t)
		m.assignAs(&sidecarpb.AssignedPartition{Epoch: 1, Topic: "in", TopicId: id[:]})
		m.units(from(0, 1, 3)...)
		m.reported(3)
		time.Sleep(25 * time.Second) // would not pass if somebody were busy
		beat := kmsg.NewPtrHeartbeatRequest()
		beat.Group, beat.MemberID, beat.Generation = "g", m.member, m.gen
		if _, err := beat.RequestWith(t.Context(), m.kafka); err != nil {
			t.Fatal(err)
		}
		if n, said := len(stateFiles(t, dir)), log.count("a session is not in the state directory"); n != 0 || said != 1 || log.count("its file system has no space left") != 1 {
			t.Fatalf("%d files, said %d times:\n%s", n, said, log.text.String())
		}
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		time.Sleep(11 * time.Second)
		if n := len(stateFiles(t, dir)); n != 1 {
			t.Fatalf("%d files where there is room", n)
		}
		fill()
		m.assignAs(&sidecarpb.AssignedPartition{Epoch: 2, Topic: "in", Partition: 1, TopicId: id[:]})
		units := from(0, 2)
		units[0].src.Epoch = 2
		m.units(units...)
		m.reported(2)
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		time.Sleep(11 * time.Second)
		b.successor(t, asKilled(t, dir))
		time.Sleep(20 * time.Second)
		if have := b.offsets(); have != [2]int64{4, 1} || b.members(t) != 0 {
			t.Errorf("committed %v, %d members; want 4 and 1, and nobody\n%s", have, b.members(t), log.text.String())
		}
	})
}
