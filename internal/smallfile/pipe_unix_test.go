//go:build unix

package smallfile_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/ackmark/ackmark/internal/smallfile"
)

// A pipe that nobody writes to, one through which nothing comes, and a device without an end hold
// nobody up: a reload, or a connection, would wait for them for ever. What comes through a pipe in
// time is read, as from a shell's <(command).
func TestPipesAndDevices(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skipf("no pipes here: %v", err)
	}
	if _, err := smallfile.Read(path, 100); err == nil || !strings.Contains(err.Error(), "pipe to which nobody writes") {
		t.Errorf("without a writer: %v", err)
	}
	w, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := smallfile.Read(path, 100); err == nil || !strings.Contains(err.Error(), "nothing came from it") {
		t.Errorf("with a writer that writes nothing: %v", err)
	}
	if _, err := smallfile.Read("/dev/zero", 100); err == nil || !strings.Contains(err.Error(), "more than 100 bytes") {
		t.Errorf("a device: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	go func() {
		_, _ = w.WriteString("text")
		_ = w.Close()
	}()
	if _, err := os.Stat("/dev/fd"); err != nil {
		t.Skip("no /dev/fd here")
	}
	if data, err := smallfile.Read("/dev/fd/"+strconv.Itoa(int(r.Fd())), 100); err != nil || string(data) != "text" {
		t.Errorf("%q, %v", data, err)
	}
}
