package systemd

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// listening is systemd's end, and the environment that it gives.
func listening(t *testing.T, more map[string]string) (*net.UnixConn, *Notifier) {
	t.Helper()
	dir, err := os.MkdirTemp("", "notify") // t.TempDir is too long a path for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Skip("no datagram sockets here:", err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	n, err := New(func(name string) string {
		if name == "NOTIFY_SOCKET" {
			return path
		}
		return more[name]
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return conn, n
}

func heard(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	buf := make([]byte, 4096)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func TestWhatIsTold(t *testing.T) {
	conn, n := listening(t, nil)
	n.Ready("serving\nREADY=0")
	if got := heard(t, conn); got != "READY=1\nSTATUS=serving READY=0" {
		t.Errorf("%q", got)
	}
	before := monotonic()
	n.Reloading()
	got := heard(t, conn)
	usec, err := strconv.ParseInt(strings.TrimPrefix(got, "RELOADING=1\nMONOTONIC_USEC="), 10, 64)
	if err != nil || usec < before || usec > monotonic() {
		t.Errorf("%q", got)
	}
	n.Stopping("draining")
	if got := heard(t, conn); got != "STOPPING=1\nSTATUS=draining" {
		t.Errorf("%q", got)
	}
}

// The watchdog hears of a service that lives, and nothing of one that hangs, until it lives again.
func TestTheWatchdogIsFedByLife(t *testing.T) {
	conn, n := listening(t, map[string]string{"WATCHDOG_USEC": "3000"})
	ctx, cancel := context.WithCancel(t.Context())
	asked, lives, over := make(chan struct{}), make(chan string), make(chan struct{})
	go func() {
		defer close(over)
		n.Watch(ctx, func() string { asked <- struct{}{}; return <-lives })
	}()
	<-asked
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if k, err := conn.Read(make([]byte, 100)); err == nil {
		t.Errorf("%d bytes while it hangs", k)
	}
	_ = conn.SetReadDeadline(time.Time{})
	lives <- "again"
	if got := heard(t, conn); got != "WATCHDOG=1\nSTATUS=again" {
		t.Errorf("%q", got)
	}
	<-asked
	lives <- "again"
	cancel()
	select {
	case <-asked:
		lives <- ""
		<-over
	case <-over:
	}
}

// Nobody is told where nobody asks, and no watchdog that is another process's.
func TestNobodyAsks(t *testing.T) {
	n, err := New(func(string) string { return "" })
	if n != nil || err != nil {
		t.Fatal(n, err)
	}
	n.Ready("")
	n.Watch(t.Context(), func() string { t.Error("asked"); return "" })
	n.Close()
	_, n = listening(t, map[string]string{"WATCHDOG_USEC": "3000", "WATCHDOG_PID": "1"})
	n.Watch(t.Context(), func() string { t.Error("asked"); return "" })
	if _, err := New(func(name string) string { return map[string]string{"NOTIFY_SOCKET": "/nowhere/s"}[name] }); err == nil {
		t.Error("a socket that is not there")
	}
}
