package kafkatest

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/ackmark/ackmark/internal/childproc"
)

// zookeeper is what brokers before Kafka 3.3 agree by. It has one node, which no test kills.
type zookeeper struct {
	dir, log string
	port     *port
	proc     *childproc.Process
}

// raft tells whether brokers of this version are controllers themselves: since 3.3 that is meant
// for production (KIP-833). The ones before are started with ZooKeeper.
func raft(version string) bool { return AtLeast(version, 3, 3) }

// AtLeast tells whether a version like "3.9.1" is major.minor or later.
func AtLeast(version string, major, minor int) bool {
	first, rest, _ := strings.Cut(version, ".")
	second, _, _ := strings.Cut(rest, ".")
	a, _ := strconv.Atoi(first)
	b, _ := strconv.Atoi(second)
	return cmp.Or(cmp.Compare(a, major), cmp.Compare(b, minor)) >= 0
}

func newZookeeper(dir, logs string) (*zookeeper, error) {
	p, err := reservePort()
	return &zookeeper{dir: filepath.Join(dir, "zookeeper"), log: filepath.Join(logs, "zookeeper.log"), port: p}, err
}

// start needs a broker for its Java and its configured log.
func (z *zookeeper) start(b *broker) (err error) {
	_, port, _ := strings.Cut(z.port.addr(), ":")
	args := b.jvm(128, "org.apache.zookeeper.server.ZooKeeperServerMain", port, z.dir, "1000")
	args = append([]string{"-Dzookeeper.admin.enableServer=false"}, args...)
	z.proc, err = childproc.Start(childproc.Spec{Name: "zookeeper", Guard: true, Path: b.inst.java, Args: args, Dir: b.dir, Log: z.log})
	return err
}

func (z *zookeeper) stop() {
	if z == nil {
		return
	}
	if z.proc != nil {
		z.proc.Kill()
	}
	z.port.release()
}

// by makes properties of a broker in its own quorum those of one with this ZooKeeper.
func (z *zookeeper) by(p map[string]string, b *broker) {
	maps.DeleteFunc(p, func(name, _ string) bool {
		return name == "node.id" || name == "process.roles" || strings.HasPrefix(name, "controller.") || strings.HasPrefix(name, "broker.session") ||
			strings.HasPrefix(name, "broker.heartbeat")
	})
	p["broker.id"] = fmt.Sprint(b.id)
	p["zookeeper.connect"] = z.port.addr()
	p["zookeeper.session.timeout.ms"] = "6000" // at least 2 ticks of the server
	// A broker that was killed leads again what it led before, as soon as it may.
	p["leader.imbalance.check.interval.seconds"], p["leader.imbalance.per.broker.percentage"] = "1", "0"
	p["listeners"] = "PLAINTEXT://" + b.client.addr()
	p["listener.security.protocol.map"] = "PLAINTEXT:PLAINTEXT"
}
