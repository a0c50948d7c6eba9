// Package socketowner tells whether who listens at a unix socket may be trusted.
package socketowner

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ackmark/ackmark/internal/peercred"
)

// StrangerError refuses who serves the socket: nothing was said to it.
type StrangerError struct {
	path     string
	uid, own uint32
	listed   []uint32
	why      string // why the owner of the socket's directory is not enough; "" where users are listed
}

// Error implements error.
func (e *StrangerError) Error() string {
	text := fmt.Sprintf("who listens at %s runs as uid %d, this process as uid %d: nothing was sent to it; if it is the sidecar, add %d to DialConfig.SidecarUIDs, "+
		"or run both as one user", e.path, e.uid, e.own, e.uid)
	if len(e.listed) > 0 {
		return fmt.Sprintf("%s (SidecarUIDs is %v)", text, e.listed)
	}
	return text + " (" + e.why + ")"
}

// Check tells why who serves the socket must not hear a token or a record: another user than root,
// this process's own and those listed. peer asks the system who it is; what it does not tell is not
// checked.
func Check(conn net.Conn, path string, listed []uint32, peer func(*net.UnixConn) (peercred.Cred, error)) error {
	uc, ok := conn.(*net.UnixConn)
	if !ok || !peercred.Known {
		return nil
	}
	cred, err := peer(uc)
	if err != nil {
		return fmt.Errorf("the system does not say who listens at %s: %w", path, err)
	}
	own := uint32(os.Geteuid())
	if cred.UID == 0 || cred.UID == own || slices.Contains(listed, cred.UID) {
		return nil
	}
	e := &StrangerError{path: path, uid: cred.UID, own: own, listed: listed}
	if len(listed) > 0 {
		return e
	}
	if e.why = notInOwnDirectory(path, cred.UID, own, lookAt); e.why == "" {
		return nil
	}
	return e
}

// place is what lies at a path.
type place struct {
	owner  uint32
	shared bool   // others than its owner may write to it: put another entry in the place of one
	link   string // where it points to, if it is a symbolic link
}

func lookAt(path string) (place, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return place{}, err
	}
	owner, _, ok := peercred.Owner(info)
	if !ok {
		return place{}, errors.New("this system does not tell its owner")
	}
	p := place{owner: owner, shared: info.Mode().Perm()&0o022 != 0}
	if info.Mode().Type() == fs.ModeSymlink {
		p.link, err = os.Readlink(path)
	}
	return p, err
}

// maxLinks is how many symbolic links Linux follows.
const maxLinks = 40

// notInOwnDirectory tells why it is not proven that the user owns the socket's directory, or is
// empty. A directory proves something if nobody else could have made it or put it there: each one
// on the way belongs to root, to this process's user or to that one, and nobody else may write to
// it. The sticky bit does not help: it keeps what is there, not the name of what is not there yet.
func notInOwnDirectory(path string, uid, own uint32, look func(string) (place, error)) string {
	if strings.HasPrefix(path, "@") {
		return "an abstract socket is in no directory"
	}
	dir, err := path[:strings.LastIndexByte(path, '/')+1], error(nil)
	if !filepath.IsAbs(path) {
		wd, wdErr := os.Getwd()
		dir, err = wd+"/"+dir, wdErr
	}
	at, rest, links := "/", strings.Split(dir, "/"), 0
	for err == nil {
		var p place
		p, err = look(at)
		switch {
		case err != nil:
			continue
		case p.link != "":
			if links++; links > maxLinks {
				return "too many symbolic links on the way to it"
			}
			at = filepath.Dir(at)
			if filepath.IsAbs(p.link) {
				at = "/"
			}
			rest = append(strings.Split(p.link, "/"), rest...)
			continue
		case p.shared:
			return fmt.Sprintf("others may write to %s, and put another socket there", at)
		case p.owner != 0 && p.owner != own && p.owner != uid:
			return fmt.Sprintf("%s belongs to uid %d, who may put another socket there", at, p.owner)
		}
		for len(rest) > 0 && (rest[0] == "" || rest[0] == ".") {
			rest = rest[1:]
		}
		switch {
		case len(rest) > 0: // Join takes ".." to be the directory above, which it is: at has no links
			at, rest = filepath.Join(at, rest[0]), rest[1:]
		case p.owner != uid:
			return fmt.Sprintf("%s belongs to uid %d", at, p.owner)
		default:
			return ""
		}
	}
	return err.Error()
}
