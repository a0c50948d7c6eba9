package sidecar

// Pinned returns the received bytes that records still need, for tests of the memory bound.
func (s *Server) Pinned() (bytes, records int64) { return unpacked(s.pinned.used.Load()) }

// Window returns what the next session is granted.
func (s *Server) Window() (bytes int64, records int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.grant()
	s.giveBack(w)
	return w.bytes, w.records
}

// UnreadEmits returns the emits whose message is not read.
func (s *Server) UnreadEmits() int32 { return s.unreadEmits.Load() }

// OpenCalls returns the calls that are open as tap counts them.
func (s *Server) OpenCalls() (emits, streams int32) { return s.emitCalls.Load(), s.streamCalls.Load() }
