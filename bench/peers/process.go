package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/ackmark/ackmark/internal/childproc"
)

// instance is a contestant that does one job, over several lives of its process.
type instance struct {
	contestant
	d       *driver
	group   string
	output  string
	env     []string
	dir     string // its state, whenever it is started again
	socket  string
	ends    int // how often it ended by itself
	app     *childproc.Process
	sidecar *childproc.Process
}

func (d *driver) instance(c contestant, input, output string, static bool) (*instance, error) {
	i := &instance{contestant: c, d: d, group: d.name(c.Name), output: output}
	i.dir = filepath.Join(d.dir, i.group)
	i.socket = filepath.Join(d.dir, fmt.Sprintf("s%d", d.names), "sock")
	for _, dir := range []string{i.dir, filepath.Dir(i.socket)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	i.env = append([]string{
		"KAFKA_BROKERS=" + strings.Join(d.kafka.Addrs(), ","), "GROUP=" + i.group, "INPUT=" + input, "OUTPUT=" + output,
		"COMMIT_MS=" + strconv.Itoa(c.commitMS), "TRANSACTIONAL_ID=", "INSTANCE_ID=", "SIDECAR=", "MODE=", "STATE_DIR=",
	}, c.env...)
	if c.transactional {
		i.env = append(i.env, "TRANSACTIONAL_ID="+i.group)
	}
	if static {
		i.env = append(i.env, "INSTANCE_ID="+i.group)
	}
	if c.sidecar {
		i.env = append(i.env, "SIDECAR=unix://"+i.socket)
	} else {
		i.env = append(i.env, "STATE_DIR="+i.dir)
	}
	return i, nil
}

// start starts what does not run.
func (i *instance) start() (err error) {
	log := filepath.Join(i.dir, "log")
	if i.contestant.sidecar && i.sidecar == nil {
		args := []string{"sidecar", "--brokers", strings.Join(i.d.kafka.Addrs(), ","), "--listen", "unix://" + i.socket, "--log-level", "warn"}
		if i.transactional {
			args = append(args, "--transactional-id", i.group)
		}
		if i.sidecar, err = childproc.Start(childproc.Spec{Name: i.Name + "'s sidecar", Guard: true, Path: filepath.Join(i.d.bin, sidecarCommand), Args: args, Log: log}); err != nil {
			return err
		}
		if err := i.awaitSocket(); err != nil {
			return err
		}
	}
	path, args := filepath.Join(i.d.bin, i.program), []string(nil)
	if i.java {
		target := filepath.Join(i.d.peers(), "java", i.program, "target")
		path = java()
		args = []string{"-Xmx512m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", filepath.Join(target, "classes") + ":" + filepath.Join(target, "dependency", "*"), "Peer"}
	}
	i.app, err = childproc.Start(childproc.Spec{Name: i.Name, Guard: true, Path: path, Args: args, Env: i.env, Dir: i.dir, Log: log})
	return err
}

// socketLimit bounds the start of a sidecar.
const socketLimit = 30 * time.Second

func (i *instance) awaitSocket() error {
	for deadline := time.Now().Add(socketLimit); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("unix", i.socket)
		if err == nil {
			return c.Close()
		}
		if !i.sidecar.Running() || time.Now().After(deadline) {
			return i.failed(fmt.Errorf("its sidecar does not listen: %w", err))
		}
	}
}

// failed adds what the contestant said.
func (i *instance) failed(err error) error {
	return fmt.Errorf("%s: %w\n  %s", i.Name, err, strings.Join(childproc.TailOf(filepath.Join(i.dir, "log"), 15), "\n  "))
}

// kill is kill -9.
func (i *instance) kill() {
	if i.killSidecar && i.sidecar != nil {
		i.sidecar.Kill()
		i.sidecar = nil
	}
	if i.app != nil {
		i.app.Kill()
	}
}

// end ends all.
func (i *instance) end() {
	if i.app != nil {
		i.app.Kill()
	}
	if i.sidecar != nil {
		i.sidecar.Kill()
	}
}

// stopLimit is how long a contestant may take to end after SIGTERM.
const stopLimit = 20 * time.Second

// stop ends all in order.
func (i *instance) stop() error {
	defer i.end()
	if err := i.app.Terminate(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	if _, err := i.app.Wait(ctx); err != nil {
		return i.failed(err)
	}
	return nil
}

// alive is an error if the process has ended by itself.
func (i *instance) alive() error {
	if !i.app.Running() {
		return i.failed(errors.New("it ended by itself: " + i.app.State()))
	}
	return nil
}

// cpu is what the processes have used.
func (i *instance) cpu() time.Duration {
	sum := cpuOf(i.app.Pid())
	if i.sidecar != nil {
		sum += cpuOf(i.sidecar.Pid())
	}
	return sum
}

func (d *driver) brokerCPU() (sum time.Duration) {
	for _, pid := range d.kafka.PIDs() {
		sum += cpuOf(pid)
	}
	return sum
}

// cpuOf is the processor time of a process; 0 of one that has ended.
func cpuOf(pid int) time.Duration {
	cpu, _ := childproc.CPUTime(pid)
	return cpu
}
