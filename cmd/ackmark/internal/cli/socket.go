package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

func environ() []string { return os.Environ() }

// socketProblem tells, better than a failed dial, what is wrong with the path of a socket.
func socketProblem(address string) error {
	path, ok := strings.CutPrefix(address, "unix://")
	if !ok {
		return nil
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("no sidecar listens on %s: there is no such socket; start `ackmark sidecar --listen %s`", path, address)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("no right to open %s; run as the sidecar's user, or set its socket_mode to 0770 and share the group", path)
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is no socket; set --listen to the sidecar's socket", path)
	}
	return nil
}
