package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/settings"
	"github.com/ackmark/ackmark/cmd/ackmark/internal/systemd"
	"github.com/ackmark/ackmark/sidecar"
)

// reloader reads a running sidecar's settings again when SIGHUP asks for it, and tells systemd how
// the sidecar stands.
type reloader struct {
	flags   *sidecarFlags
	server  *sidecar.Server
	log     *slog.Logger
	systemd *systemd.Notifier

	level slog.LevelVar
	tls   tlsNow
	start *settings.Effective // with which the sidecar began
	now   *settings.Effective // as last read
}

// follow does both until the returned function is called, when Run has ended.
func (r *reloader) follow(ctx context.Context) (stop func()) {
	life, end := context.WithCancel(context.Background())
	var both sync.WaitGroup
	both.Go(func() {
		select {
		case <-r.server.Serving():
		case <-life.Done():
			return
		}
		r.systemd.Ready("serving " + r.start.Listen)
		r.systemd.Watch(life, func() string { return r.standing(life) })
	})
	both.Go(func() {
		stopping := ctx.Done()
		for {
			select {
			case <-hangups(ctx):
				r.reload()
			case <-stopping:
				r.systemd.Stopping("delivering what is there")
				stopping = nil
			case <-life.Done():
				return
			}
		}
	})
	return func() {
		end()
		both.Wait()
	}
}

// standing asks the sidecar as its peers do: it takes the locks that work takes. One that hangs
// does not answer.
func (r *reloader) standing(ctx context.Context) string {
	st, err := r.server.Status(ctx)
	if err != nil {
		return err.Error()
	}
	text := fmt.Sprintf("%s, %d sessions", st.GetState(), len(st.GetSessions()))
	if why := st.GetKafkaError(); why != "" {
		text += "; Kafka is not reachable: " + why
	}
	return text
}

// reload puts the settings in force that can change, all or none, and names those that cannot.
func (r *reloader) reload() {
	r.systemd.Reloading()
	defer func() { r.systemd.Ready("serving " + r.start.Listen) }()
	var e *settings.Effective
	var listener *tls.Config
	_, err := r.server.Reload(func() (sidecar.Config, error) {
		var err error
		if e, err = r.flags.load(os.Environ()); e == nil {
			return sidecar.Config{}, err
		}
		cfg := sidecarConfig(e, r.log)
		listener = cfg.TLS
		refuse(e, cfg.Validate())
		return cfg, e.Err()
	})
	if err != nil {
		r.log.Error("configuration not reloaded: all stays as it was", "err", errors.New(oneLine(err)))
		return
	}
	r.tls.replace(listener)
	if before := r.now.Listener; before != nil && e.Listener != nil {
		before.Drop()
	}
	r.level.Set(e.LogLevel)
	var changed []string
	for _, c := range r.now.Changes(e) {
		if settings.Live(c.Key) {
			changed = append(changed, fmt.Sprintf("%s: %s, was %s", c.Name, c.Now, c.Before))
		}
	}
	for _, c := range r.start.Changes(e) {
		if !settings.Live(c.Key) {
			r.log.Warn("a setting waits for a restart", "setting", c.Name, "in_force", c.Before, "configured", c.Now)
		}
	}
	r.now = e
	r.log.Info("configuration reloaded", "changed", changed)
}
