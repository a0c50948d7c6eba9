package sidecar_test

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ackmark/ackmark/internal/peercred"
	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

// as runs TestStranger under another user, from a copy of the test binary that everybody may
// execute.
func as(t *testing.T, dir string, cred *syscall.Credential, sc *sidecartest.Sidecar, what string) string {
	t.Helper()
	path := filepath.Join(dir, "app")
	if _, err := os.Stat(path); err != nil {
		in, err := os.Open(os.Args[0])
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(out, in); err != nil {
			t.Fatal(err)
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(path, "-test.run=^TestStranger$")
	cmd.Dir = "/"
	cmd.Env = []string{strangerEnv + "=" + what + "," + sc.Target + ",-"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// With mode 0770 the group of the directory may connect, also who has it as a supplementary group
// (fsGroup); others may not, and read why.
func TestTheGroupMayConnect(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root has processes of other users")
	}
	const group = 54321
	dir, err := os.MkdirTemp("", "ackmark-group-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	volume := filepath.Join(dir, "volume") // as Kubernetes makes it for fsGroup
	for _, err := range []error{os.Chmod(dir, 0o755), os.Mkdir(volume, 0o755), os.Chown(volume, 0, group), os.Chmod(volume, os.ModeSetgid|0o775)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	kafka := cluster(t)
	sc := sidecartest.Start(t, kafka.ListenAddrs(), func(c *sidecar.Config) {
		c.SocketMode, c.Listen = 0o770, "unix://"+filepath.Join(volume, "ackmark", "s.sock")
	})
	made, err := os.Stat(filepath.Join(volume, "ackmark"))
	if err != nil || made.Mode().Perm() != 0o750 || made.Mode()&os.ModeSetgid == 0 {
		t.Errorf("directory: %v, %v; want 0750 and setgid", made.Mode(), err)
	}
	for name, x := range map[string]struct {
		cred *syscall.Credential
		want string
	}{
		"first group":         {&syscall.Credential{Uid: 60001, Gid: group}, "closed the stream"},
		"supplementary group": {&syscall.Credential{Uid: 60001, Gid: 60001, Groups: []uint32{7, group}}, "closed the stream"},
		"no group of it":      {&syscall.Credential{Uid: 60001, Gid: 60001}, "permission denied"},
	} {
		if got := as(t, dir, x.cred, sc, "leaves"); !strings.Contains(got, x.want) {
			t.Errorf("%s: %s, want %q", name, got, x.want)
		}
	}
	if got := as(t, dir, &syscall.Credential{Uid: 60001, Gid: group}, sc, "routes"); peercred.Known && !strings.Contains(got, "PermissionDenied") {
		t.Errorf("another user that may connect sets a route: %s", got)
	}
	if !peercred.Known {
		return // the directory alone decides
	}
	// Who gets past the directory is told why by the sidecar.
	if err := os.Chmod(filepath.Join(volume, "ackmark"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(volume, "ackmark", "s.sock"), 0o666); err != nil {
		t.Fatal(err)
	}
	if got := as(t, dir, &syscall.Credential{Uid: 60001, Gid: 60001}, sc, "leaves"); !strings.Contains(got, "uid 60001, gid 60001 may not connect") {
		t.Errorf("the refused one hears %s", got)
	}
}

// The directory that the sidecar makes stays of its volume's group, with mode 0770 and with 0700,
// and is not bent by it.
func TestTheMadeDirectoryKeepsSetgid(t *testing.T) {
	kafka := cluster(t)
	for _, mode := range []os.FileMode{0o700, 0o770} {
		volume := t.TempDir()
		if err := os.Chmod(volume, os.ModeSetgid|0o755); err != nil {
			t.Fatal(err)
		}
		sidecartest.Start(t, kafka.ListenAddrs(), func(c *sidecar.Config) {
			c.SocketMode, c.Listen = mode, "unix://"+filepath.Join(volume, "d", "s.sock")
		})
		made, err := os.Stat(filepath.Join(volume, "d"))
		if err != nil || made.Mode() != os.ModeDir|os.ModeSetgid|mode&^0o020 {
			t.Errorf("directory: %v, %v; want %v and setgid", made.Mode(), err, mode&^0o020)
		}
	}
}

// A directory in which the group could replace the socket is refused, unless it is sticky.
func TestTheGroupCannotReplaceTheSocket(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o770); err != nil {
		t.Fatal(err)
	}
	err := runError(t, sidecar.Config{Listen: "unix://" + filepath.Join(dir, "s.sock"), SocketMode: 0o770})
	if err == nil || !strings.Contains(err.Error(), "replace the socket") {
		t.Errorf("a directory that its group may write to: %v", err)
	}
}
