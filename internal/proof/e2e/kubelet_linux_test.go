package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ackmark/ackmark/internal/childproc"
)

// kubelet runs the containers of a pod as processes, as the kubelet of Kubernetes 1.29 and newer
// does:
//
//   - An init container with restartPolicy Always is started, and what comes after it waits for its
//     startup probe.
//   - A container that ends is started again, at once the first time, then after 10 s, 20 s …
//   - Liveness probes that fail end the container and start it again.
//   - The end of the pod: SIGTERM to the app, SIGKILL after the grace; when it has ended, SIGTERM to
//     the sidecars in reverse order, SIGKILL after what is left of the grace, but not before two
//     seconds.
//
// What is not imitated: images, namespaces (a path below a mount is replaced by the volume's), the
// read-only root, seccomp, limits. Users, groups, capabilities and fsGroup are, for root.
type kubelet struct {
	t       *testing.T
	pod     podSpec
	dir     string            // volumes and logs; short, for the socket's path
	program map[string]string // by container: what its image has
	env     map[string][]string
	asRoot  bool

	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mu      sync.Mutex
	ending  bool
	events  []string
	current map[*container]*instance
	logs    []string
}

// instance is a container's process.
type instance struct {
	*childproc.Process
	ready bool          // by its readiness probe
	noted chan struct{} // closed when its end stands among the events
}

const (
	minimumGrace = 2 * time.Second
	crashBackoff = 10 * time.Second
)

// newKubelet gives the pod its volumes. config is the content of its ConfigMap.
func newKubelet(t *testing.T, dir string, pod podSpec, config string) *kubelet {
	t.Helper()
	k := &kubelet{t: t, pod: pod, dir: dir, asRoot: os.Geteuid() == 0, program: map[string]string{}, env: map[string][]string{}, current: map[*container]*instance{}}
	k.ctx, k.cancel = context.WithCancel(context.Background())
	for _, v := range pod.Volumes {
		if err := os.MkdirAll(k.volume(v.Name), 0o755); err != nil {
			t.Fatal(err)
		}
		switch {
		case v.ConfigMap != nil:
			if err := os.WriteFile(filepath.Join(k.volume(v.Name), "sidecar.yaml"), []byte(k.place(pod.InitContainers[0], config)), 0o644); err != nil {
				t.Fatal(err)
			}
		case v.EmptyDir != nil:
			// As kubelet makes it with an fsGroup: everybody may write, new files get the group.
			if k.asRoot {
				if err := os.Chown(k.volume(v.Name), 0, pod.SecurityContext.FSGroup); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Chmod(k.volume(v.Name), 0o777|os.ModeSetgid); err != nil {
				t.Fatal(err)
			}
		default:
			t.Fatalf("volume %s is of a kind that the imitation does not know", v.Name)
		}
	}
	t.Cleanup(k.cleanup)
	return k
}

func (k *kubelet) volume(name string) string { return filepath.Join(k.dir, name) }

func (k *kubelet) cleanup() {
	k.mu.Lock()
	k.ending = true
	k.mu.Unlock()
	k.cancel()
	k.mu.Lock()
	running := make([]*instance, 0, len(k.current))
	for _, i := range k.current {
		running = append(running, i)
	}
	k.mu.Unlock()
	for _, i := range running {
		i.Kill()
	}
	k.tasks.Wait()
	if k.t.Failed() {
		k.t.Logf("the pod:\n  %s", strings.Join(k.said(), "\n  "))
		for _, log := range k.logs {
			k.t.Logf("end of %s:\n%s", log, strings.Join(childproc.TailOf(log, 15), "\n"))
		}
	}
}

// say notes what happened, for the order of it.
func (k *kubelet) say(format string, args ...any) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.events = append(k.events, fmt.Sprintf(format, args...))
}

func (k *kubelet) said() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.events)
}

// run starts the pod, and returns when its app was started.
func (k *kubelet) run() {
	k.t.Helper()
	for _, c := range k.pod.InitContainers {
		if c.RestartPolicy != "Always" {
			k.t.Fatalf("init container %s is no sidecar: the app would wait for its end", c.Name)
		}
		passed := make(chan struct{})
		k.tasks.Go(func() { k.supervise(c, sync.OnceFunc(func() { close(passed) })) })
		ctx, cancel := context.WithTimeout(k.ctx, settle)
		select {
		case <-passed:
		case <-ctx.Done():
			k.t.Errorf("the startup probe of %s does not pass", c.Name)
		}
		cancel()
		if k.t.Failed() {
			k.t.FailNow()
		}
	}
	for _, c := range k.pod.Containers {
		begun := make(chan struct{})
		k.tasks.Go(func() { k.supervise(c, sync.OnceFunc(func() { close(begun) })) })
		<-begun
	}
}

// supervise runs a container until the pod ends. passed is called when it counts as started.
func (k *kubelet) supervise(c *container, passed func()) {
	pause := time.Duration(0)
	for n := 0; ; n++ {
		i, err := k.start(c)
		if err != nil {
			k.t.Error(err)
			passed()
			return
		}
		if i == nil {
			return // the pod ends
		}
		ctx, cancel := context.WithCancel(k.ctx)
		k.tasks.Go(func() { k.watch(ctx, c, i, passed) })
		<-i.Done()
		cancel()
		k.say("%s ended: %s", c.Name, i.State())
		close(i.noted)
		if n > 0 {
			pause = max(crashBackoff, 2*pause)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-k.ctx.Done():
			timer.Stop()
			return
		}
	}
}

// start starts the process of a container, unless the pod ends.
func (k *kubelet) start(c *container) (*instance, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ending {
		return nil, nil
	}
	log := filepath.Join(k.dir, fmt.Sprintf("%d-%s.log", len(k.logs), c.Name))
	args := k.command(c, append(slices.Clone(c.Command), c.Args...))
	p, err := childproc.Start(childproc.Spec{Name: c.Name, Path: args[0], Args: args[1:], Env: k.variables(c), Log: log, Guard: true})
	if err != nil {
		return nil, err
	}
	i := &instance{Process: p, noted: make(chan struct{})}
	k.current[c], k.logs = i, append(k.logs, log)
	k.events = append(k.events, c.Name+" started")
	return i, nil
}

// command is a program of the container's image, as the container's user.
func (k *kubelet) command(c *container, args []string) []string {
	if len(args) == 0 || !strings.HasPrefix(args[0], "/") {
		args = append([]string{"/" + c.Name}, args...) // the entrypoint
	}
	args[0] = k.program[c.Name]
	for i := range args[1:] {
		args[i+1] = k.place(c, args[i+1])
	}
	if !k.asRoot {
		return args
	}
	user := k.pod.SecurityContext.RunAsUser
	if own := c.SecurityContext.RunAsUser; own != nil {
		user = own
	}
	prefix := []string{
		"setpriv", "--reuid=" + strconv.Itoa(*user), "--regid=" + strconv.Itoa(k.pod.SecurityContext.RunAsGroup),
		"--groups=" + strconv.Itoa(k.pod.SecurityContext.FSGroup),
	}
	if e := c.SecurityContext.Escalation; e != nil && !*e {
		prefix = append(prefix, "--no-new-privs")
	}
	if slices.Contains(c.SecurityContext.Capabilities["drop"], "ALL") {
		prefix = append(prefix, "--bounding-set=-all", "--inh-caps=-all")
	}
	return append(append(prefix, "--"), args...)
}

// place replaces paths below the container's mounts by those of the volumes.
func (k *kubelet) place(c *container, text string) string {
	for _, m := range c.Mounts {
		text = strings.ReplaceAll(text, m.Path, k.volume(m.Name))
	}
	return text
}

// variables are the container's, over those that the test gives it.
func (k *kubelet) variables(c *container) (env []string) {
	downward := map[string]string{"metadata.name": "pod-0", "metadata.namespace": "test", "spec.nodeName": "node-0"}
	known := []string{}
	for _, v := range c.Env {
		value := k.place(c, v.Value)
		if v.From != nil {
			value = downward[v.From.Field.Path]
		}
		value = strings.NewReplacer(known...).Replace(value)
		known = append(known, "$("+v.Name+")", value)
		env = append(env, v.Name+"="+value)
	}
	return append(env, k.env[c.Name]...)
}

// watch probes a process until it ends.
func (k *kubelet) watch(ctx context.Context, c *container, i *instance, passed func()) {
	if c.Startup != nil && !k.probe(ctx, c, c.Startup, func(ok bool) (done bool) { return ok }) {
		k.fail(ctx, c, i, "startup")
		return
	}
	passed()
	if c.Readiness != nil {
		k.tasks.Go(func() {
			k.probe(ctx, c, c.Readiness, func(ok bool) bool {
				k.mu.Lock()
				defer k.mu.Unlock()
				i.ready = ok
				return false
			})
		})
	}
	if c.Liveness != nil && !k.probe(ctx, c, c.Liveness, func(bool) bool { return false }) {
		k.fail(ctx, c, i, "liveness")
	}
}

// probe runs a probe again and again, until done says so or it failed too often.
func (k *kubelet) probe(ctx context.Context, c *container, p *probe, done func(ok bool) bool) (passed bool) {
	tick := time.NewTicker(time.Duration(p.Period) * time.Second)
	defer tick.Stop()
	for failures := 0; ; {
		ok := k.ask(ctx, c, p)
		if ctx.Err() != nil || done(ok) {
			return true
		}
		if failures++; ok {
			failures = 0
		}
		if failures >= p.Failures {
			return false
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return true
		}
	}
}

// ask runs the command of a probe in the container.
func (k *kubelet) ask(ctx context.Context, c *container, p *probe) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(p.Timeout)*time.Second)
	defer cancel()
	args := k.command(c, slices.Clone(p.Exec.Command))
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), k.variables(c)...)
	return cmd.Run() == nil
}

// fail ends a container whose probe failed: it is started again.
func (k *kubelet) fail(ctx context.Context, c *container, i *instance, which string) {
	if ctx.Err() == nil {
		k.say("%s failed its %s probe", c.Name, which)
		k.end(c, i, time.Duration(k.pod.Grace)*time.Second)
	}
}

// instance is the running process of a container.
func (k *kubelet) instance(name string) *instance {
	k.mu.Lock()
	defer k.mu.Unlock()
	for c, i := range k.current {
		if c.Name == name {
			return i
		}
	}
	return nil
}

// ready tells why the pod is not.
func (k *kubelet) ready() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for c, i := range k.current {
		if c.Readiness != nil && !i.ready {
			return fmt.Errorf("%s is not ready", c.Name)
		}
	}
	return nil
}

// end is SIGTERM, and SIGKILL after the grace.
func (k *kubelet) end(c *container, i *instance, grace time.Duration) {
	k.say("%s gets SIGTERM", c.Name)
	if err := i.Signal(syscall.SIGTERM); err != nil {
		k.t.Error(err)
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-i.Done():
	case <-timer.C:
		k.say("%s gets SIGKILL", c.Name)
		i.Kill()
	}
	<-i.noted
}

// terminate ends the pod, and returns when all of it has ended.
func (k *kubelet) terminate() {
	k.t.Helper()
	k.mu.Lock()
	k.ending = true
	k.mu.Unlock()
	grace, begun := time.Duration(k.pod.Grace)*time.Second, time.Now()
	var apps sync.WaitGroup
	for _, c := range k.pod.Containers {
		apps.Go(func() { k.end(c, k.instance(c.Name), grace) })
	}
	apps.Wait()
	for _, c := range slices.Backward(k.pod.InitContainers) {
		k.end(c, k.instance(c.Name), max(grace-time.Since(begun).Truncate(time.Second), minimumGrace))
	}
	k.cancel()
	k.tasks.Wait()
}

// happened checks the order of events, each by the beginning of its text.
func (k *kubelet) happened(want ...string) {
	k.t.Helper()
	rest := k.said()
	for _, w := range want {
		at := slices.IndexFunc(rest, func(e string) bool { return strings.HasPrefix(e, w) })
		if at < 0 {
			k.t.Errorf("%q did not happen, or not in this order:\n  %s", w, strings.Join(k.said(), "\n  "))
			return
		}
		rest = rest[at+1:]
	}
}

// copyProgram gives a program to users who may not enter the directory it is in.
func copyProgram(from, to string) error {
	data, err := os.ReadFile(from)
	return errors.Join(err, os.WriteFile(to, data, 0o755))
}
