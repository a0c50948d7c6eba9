// Package systemd tells systemd how a service of Type=notify stands, by the protocol of
// sd_notify(3): datagrams of NAME=value lines to the socket that it names.
package systemd

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// Notifier tells. Nil, where nobody listens, it tells nobody.
type Notifier struct {
	conn     *net.UnixConn
	watchdog time.Duration // 0: none
}

// New is what the environment asks for: nil if nothing.
func New(lookup func(name string) string) (*Notifier, error) {
	path := lookup("NOTIFY_SOCKET")
	if path == "" {
		return nil, nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("NOTIFY_SOCKET: %w", err)
	}
	n := &Notifier{conn: conn}
	usec, err := strconv.ParseInt(lookup("WATCHDOG_USEC"), 10, 64)
	if pid := lookup("WATCHDOG_PID"); err == nil && usec > 0 && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		n.watchdog = time.Duration(usec) * time.Microsecond
	}
	return n, nil
}

// Ready tells that the service serves, or has its new configuration.
func (n *Notifier) Ready(status string) { n.send("READY=1", "STATUS="+status) }

// Reloading tells that it reads its configuration again; Ready follows.
func (n *Notifier) Reloading() {
	n.send("RELOADING=1", fmt.Sprintf("MONOTONIC_USEC=%d", monotonic()))
}

// Stopping tells that it ends.
func (n *Notifier) Stopping(status string) { n.send("STOPPING=1", "STATUS="+status) }

// Watch tells, until the context ends, that the service lives: each time that alive has returned,
// three times in the watchdog's interval. When alive hangs, nothing is told, and systemd acts.
func (n *Notifier) Watch(ctx context.Context, alive func() (status string)) {
	if n == nil || n.watchdog == 0 {
		return
	}
	tick := time.NewTicker(n.watchdog / 3)
	defer tick.Stop()
	for {
		n.send("WATCHDOG=1", "STATUS="+alive())
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Close is for the end.
func (n *Notifier) Close() {
	if n != nil {
		_ = n.conn.Close()
	}
}

// patience is how long a full socket may hold up who tells.
const patience = time.Second

// send is in vain where systemd does not listen any more: then nobody can be told.
func (n *Notifier) send(lines ...string) {
	if n == nil {
		return
	}
	for i, line := range lines {
		lines[i] = strings.ReplaceAll(line, "\n", " ")
	}
	_ = n.conn.SetWriteDeadline(time.Now().Add(patience))
	_, _ = n.conn.Write([]byte(strings.Join(lines, "\n")))
}
