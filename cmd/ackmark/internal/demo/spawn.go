package demo

import (
	"os/exec"
	"runtime"
)

// spawner starts processes from one thread that lives as long as it does. Linux sends the
// parent-death signal when the *thread* that started the child ends, and Go ends threads as it
// likes.
type spawner struct{ requests chan spawn }

type spawn struct {
	cmd  *exec.Cmd
	done chan error
}

func newSpawner() *spawner {
	s := &spawner{requests: make(chan spawn)}
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for r := range s.requests {
			r.done <- r.cmd.Start()
		}
	}()
	return s
}

func (s *spawner) start(cmd *exec.Cmd) error {
	r := spawn{cmd, make(chan error, 1)}
	s.requests <- r
	return <-r.done
}

// close ends the thread; call it when no child is left and none will be started.
func (s *spawner) close() { close(s.requests) }
