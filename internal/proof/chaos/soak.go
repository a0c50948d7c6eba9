package chaos

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ackmark/ackmark/internal/proof/netfault"
)

// Soak runs one pod for a long time while random faults happen to it, one after the other.
func (e *Env) Soak(ctx context.Context, d time.Duration) (Result, error) {
	row := Row{Fault: fmt.Sprintf("soak of %s", d), Duplicates: uncommitted, BrokerProxy: "sidecar", SocketProxy: true, App: shortSession}
	row.Do = func(s *stage) error { return s.soak(d) }
	r := e.one(ctx, &row)
	if r.Verdict == Broken {
		return r, ErrBroken
	}
	return r, nil
}

// fault is one of those that a soak chooses from.
type fault struct {
	name string
	do   func(s *stage) error
	real bool // it breaks a broker
}

var faults = []fault{
	{name: "app SIGKILL", do: func(s *stage) error {
		name := s.any()
		s.kill(name)
		s.sleep(s.upTo(3 * time.Second))
		s.again(name)
		return nil
	}},
	{name: "both apps SIGKILL", do: func(s *stage) error {
		s.kill("app-1")
		s.kill("app-2")
		s.again("app-1")
		s.sleep(s.upTo(3 * time.Second))
		s.again("app-2")
		return nil
	}},
	{name: "sidecar SIGKILL", do: func(s *stage) error {
		s.kill("sidecar")
		s.sleep(s.upTo(3 * time.Second))
		s.again("sidecar")
		return nil
	}},
	{name: "pod SIGKILL", do: func(s *stage) error {
		s.incident("SIGKILL of the pod", "")
		for _, name := range []string{"sidecar", "app-1", "app-2"} {
			s.procs.named(name).Kill()
		}
		for _, name := range []string{"sidecar", "app-1", "app-2"} {
			s.again(name)
		}
		return nil
	}},
	{name: "app SIGSTOP", do: func(s *stage) error {
		name := s.any()
		s.incident("SIGSTOP", name)
		s.pause(name)
		s.sleep(s.upTo(14 * time.Second))
		s.resume(name)
		return nil
	}},
	{name: "sidecar SIGSTOP", do: func(s *stage) error {
		s.incident("SIGSTOP", "sidecar")
		s.pause("sidecar")
		s.sleep(s.upTo(14 * time.Second))
		s.resume("sidecar")
		return nil
	}},
	{name: "stream cut", do: func(s *stage) error {
		s.incident("cut", "app-1")
		s.socketProxy.Break()
		return nil
	}},
	{name: "sidecar cut from the brokers", do: func(s *stage) error {
		s.incident("cut", "sidecar")
		s.network((*netfault.Proxy).Cut)
		s.sleep(s.upTo(5 * time.Second))
		s.network((*netfault.Proxy).Heal)
		return nil
	}},
	{name: "SIGTERM of an app", do: func(s *stage) error {
		name := s.any()
		s.incident("SIGTERM", name)
		if err := s.terminate(name); err != nil {
			return err
		}
		s.again(name)
		return nil
	}},
	{name: "broker SIGKILL", real: true, do: func(s *stage) error {
		i := s.rng.IntN(3)
		s.incident("broker SIGKILL", "sidecar")
		s.Brokers.Kill(i)
		s.sleep(s.upTo(8 * time.Second))
		s.Brokers.Restart(i)
		return nil
	}},
	{name: "broker SIGSTOP", real: true, do: func(s *stage) error {
		i := s.rng.IntN(3)
		s.incident("broker SIGSTOP", "sidecar")
		s.Brokers.Pause(i)
		s.sleep(s.upTo(8 * time.Second))
		s.Brokers.Resume(i)
		return nil
	}},
}

// upTo is a random time.
func (s *stage) upTo(d time.Duration) time.Duration { return time.Duration(s.rng.Int64N(int64(d))) }

// soak does random faults until the time is over. Between two of them the pod has time to come to
// itself.
func (s *stage) soak(d time.Duration) error {
	choice := slices.DeleteFunc(slices.Clone(faults), func(f fault) bool { return f.real && s.Brokers == nil })
	done := map[string]int{}
	end := time.Now().Add(d)
	for said := time.Now(); time.Now().Before(end) && s.ctx.Err() == nil; {
		s.sleep(3*time.Second + s.upTo(7*time.Second))
		f := choice[s.rng.IntN(len(choice))]
		done[f.name]++
		if err := f.do(s); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		if time.Since(said) > 30*time.Second {
			said = time.Now()
			inputs, handled := s.tail.counts()
			s.watch.mu.Lock()
			premature, commits := s.watch.premature, s.watch.commits
			s.watch.mu.Unlock()
			fmt.Fprintf(s.Progress, "%s to go: %d inputs, %d handled, %d faults, %d premature of %d commits\n", time.Until(end).Round(time.Second), inputs, handled, s.res.Incidents, premature, commits)
		}
	}
	fmt.Fprintf(s.Progress, "faults: %v\n", done)
	return context.Cause(s.ctx)
}

// Flat compares the processes' memory and goroutines in the first and in the last third of a run,
// leaving out its beginning. What is live must not grow, and what is resident not without it.
func (r *Result) Flat() (report string, flat bool) {
	var all []sample
	for _, x := range r.samples {
		if x.at > 30*time.Second && x.apps.resident+x.sidecar.resident > 0 {
			all = append(all, x)
		}
	}
	if len(all) < 30 {
		return "too short to tell", true
	}
	third := len(all) / 3
	flat = true
	compare := func(what string, slack float64, of func(sample) int64) string {
		a, b := median(all[:third], of), median(all[2*third:], of)
		flat = flat && float64(b) < 1.3*float64(a)+slack
		return fmt.Sprintf("%s %d and %d", what, a, b)
	}
	return "medians of the first third and of the last: " + strings.Join([]string{
		compare("resident MiB of all processes", 10, func(x sample) int64 { return (x.apps.resident + x.sidecar.resident) >> 20 }),
		compare("of the sidecar", 10, func(x sample) int64 { return x.sidecar.resident >> 20 }),
		compare("live MiB of the apps", 10, func(x sample) int64 { return x.apps.live >> 20 }),
		compare("of the sidecar", 10, func(x sample) int64 { return x.sidecar.live >> 20 }),
		compare("goroutines", 20, func(x sample) int64 { return int64(x.goroutines) }),
	}, ", "), flat
}

func median(list []sample, of func(sample) int64) int64 {
	values := make([]int64, len(list))
	for i, x := range list {
		values[i] = of(x)
	}
	slices.Sort(values)
	return values[len(values)/2]
}
