package settings

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/ackmark/ackmark/internal/sessionfile"
)

const none = "none"

func asStateDir(v any) (string, error) {
	s, err := asText(v)
	if err == nil && s != auto && s != none && !filepath.IsAbs(s) {
		err = fmt.Errorf("is %q; write an absolute path, auto or none", s)
	}
	return s, err
}

// StatePath is the state directory, "" for none. Automatic, it stands beside the unix socket, which
// outlives the sidecar's container as it does, and has the socket's name: each sidecar has its own.
func (s *Sidecar) StatePath() string {
	socket, unix := strings.CutPrefix(s.Listen, "unix://")
	switch {
	case s.StateDir == none, s.StateDir == auto && (!unix || !sessionfile.Supported):
		return ""
	case s.StateDir == auto:
		return socket + ".state"
	}
	return s.StateDir
}
