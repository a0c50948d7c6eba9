package kafkatest

import (
	"context"
	_ "embed"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ackmark/ackmark/internal/childproc"
)

//go:embed testdata/log4j2.properties
var log4j2 []byte

// broker is one node: broker and controller in one. Its index in the cluster is its node id.
type broker struct {
	id       int
	inst     installation
	dir      string // config and data
	log      string
	heapMB   int
	client   *port
	control  *port
	secured  *port // nil: no such listener
	proc     *childproc.Process
	isPaused bool
}

// properties are what a small cluster needs to start fast and to keep Kafka's promises, sized for n
// brokers; own ones are added last and win.
func properties(all []*broker, b *broker, own map[string]string) map[string]string {
	var voters []string
	for _, v := range all {
		voters = append(voters, fmt.Sprintf("%d@%s", v.id, v.control.addr()))
	}
	replicas, isr := fmt.Sprint(len(all)), fmt.Sprint(min(2, len(all)))
	p := map[string]string{
		"node.id":                          fmt.Sprint(b.id),
		"process.roles":                    "broker,controller",
		"controller.quorum.voters":         strings.Join(voters, ","),
		"controller.listener.names":        "CONTROLLER",
		"listeners":                        fmt.Sprintf("PLAINTEXT://%s,CONTROLLER://%s", b.client.addr(), b.control.addr()),
		"advertised.listeners":             "PLAINTEXT://" + b.client.addr(),
		"listener.security.protocol.map":   "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"log.dirs":                         filepath.Join(b.dir, "data"),
		"auto.create.topics.enable":        "false",
		"default.replication.factor":       replicas,
		"min.insync.replicas":              isr,
		"offsets.topic.replication.factor": replicas,
		// A group's first commit creates the topic: few partitions keep that, and a coordinator's
		// loading, short.
		"offsets.topic.num.partitions":             "4",
		"transaction.state.log.num.partitions":     "4",
		"transaction.state.log.replication.factor": replicas,
		"transaction.state.log.min.isr":            isr,
		"group.initial.rebalance.delay.ms":         "0",
		"group.min.session.timeout.ms":             "1000",
		"group.consumer.min.session.timeout.ms":    "6000", // for groups that set their own; the default stays 45 s
		// A killed leader is replaced in 3 s instead of 9.
		"broker.session.timeout.ms":    "3000",
		"broker.heartbeat.interval.ms": "500",
	}
	maps.Copy(p, own)
	return p
}

// secure adds the second listener for clients.
func (b *broker) secure(p map[string]string, protocol string) {
	if b.secured == nil {
		return
	}
	at := ",SECURED://" + b.secured.addr()
	p["listeners"] += at
	p["advertised.listeners"] += at
	p["listener.security.protocol.map"] += ",SECURED:" + protocol
}

func (b *broker) configFile() string { return filepath.Join(b.dir, "node.properties") }

func (b *broker) configure(p map[string]string) error {
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		return err
	}
	var text strings.Builder
	for _, k := range slices.Sorted(maps.Keys(p)) {
		fmt.Fprintf(&text, "%s=%s\n", k, strings.ReplaceAll(p[k], `\`, `\\`))
	}
	if err := os.WriteFile(filepath.Join(b.dir, "log4j2.properties"), log4j2, 0o644); err != nil {
		return err
	}
	return os.WriteFile(b.configFile(), []byte(text.String()), 0o644)
}

// jvm are the options of a short-lived, small JVM: half of a broker's start is compiling what runs
// only once.
func (b *broker) jvm(heapMB int, class string, args ...string) []string {
	return append([]string{
		fmt.Sprintf("-Xmx%dm", heapMB), "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-Dlog4j2.configurationFile=" + filepath.Join(b.dir, "log4j2.properties"), "-cp", b.inst.classpath, class,
	}, args...)
}

func (b *broker) format(ctx context.Context, clusterID string) error {
	args := b.jvm(128, "kafka.tools.StorageTool", "format", "-t", clusterID, "-c", b.configFile())
	out, err := exec.CommandContext(ctx, b.inst.java, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("format broker %d: %w\n%s", b.id, err, out)
	}
	return nil
}

func (b *broker) start() error {
	p, err := childproc.Start(childproc.Spec{
		Name: fmt.Sprintf("broker %d", b.id), Guard: true, Path: b.inst.java, Args: b.jvm(b.heapMB, "kafka.Kafka", b.configFile()), Dir: b.dir, Log: b.log,
	})
	b.proc, b.isPaused = p, false
	return err
}

func (b *broker) running() bool { return b.proc != nil && b.proc.Running() && !b.isPaused }

func (b *broker) stop() {
	if b.proc != nil {
		b.proc.Kill()
	}
}
