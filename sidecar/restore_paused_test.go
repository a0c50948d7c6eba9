//go:build (linux || darwin) && !portable

package sidecar_test

import (
	"testing"
	"testing/synctest"
	"time"
)

// A sidecar that stood still ends without a drain: who comes next finds its sessions.
func TestAPausedSidecarLeavesItsFiles(t *testing.T) {
	inPod(t, func(t *testing.T, b *bubble, dir string) {
		m, _ := b.working(t, dir)
		m.reported(9)
		b.sc.Server.Pause()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if n := len(stateFiles(t, dir)); n != 1 {
			t.Errorf("%d files, want the session's: client and sidecar may have died of the same", n)
		}
	})
}
