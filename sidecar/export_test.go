package sidecar

// Pinned returns the received bytes that records still need, for tests of the memory bound.
func (s *Server) Pinned() (bytes, records int64) { return unpacked(s.pinned.used.Load()) }

// Window returns a session's share.
func (s *Server) Window() (bytes int64, records int) {
	return s.cfg.windowBytes(), s.cfg.windowRecords()
}

// OpenCalls returns the calls that are open as tap counts them.
func (s *Server) OpenCalls() (emits, streams int32) { return s.emitCalls.Load(), s.streamCalls.Load() }
