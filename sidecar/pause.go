package sidecar

import (
	"errors"
	"time"
)

// ErrPaused ends a sidecar that stood still (SIGSTOP, a frozen container, a suspended machine) for
// longer than units that it had begun with may be on their way. Their client has produced them
// itself by now: sent late they would be there twice, and out of order. Another
// sidecar takes its place, to which every client says what it is missing.
var ErrPaused = errors.New("sidecar: it stood still until units that it had begun with expired, and their client may have produced them another way: " +
	"nothing of them is sent any more; start another sidecar (a supervisor does)")

// pause ends a sidecar that stood still: nothing of it is sent any more, and there is no drain.
func (s *Server) pause(stoodStill time.Duration) {
	s.log.Error("the sidecar stops", "err", ErrPaused, "stood_still", stoodStill)
	s.life.Stop(ErrPaused)
}
