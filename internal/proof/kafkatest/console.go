package kafkatest

import (
	"context"
	_ "embed"
	"os"
	"path/filepath"
	"strings"

	"github.com/ackmark/ackmark/internal/childproc"
)

//go:embed testdata/tools.xml
var toolsPom string

// installTools adds Kafka's command line tools to what a broker of [Version] is started with.
func installTools(ctx context.Context) (installation, error) {
	inst, err := install(ctx, Version)
	if err != nil {
		return installation{}, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return installation{}, missing("no cache directory for Kafka's jars: %v. Set HOME or XDG_CACHE_HOME", err)
	}
	tools, err := fetchJars(ctx, filepath.Join(cache, "ackmark"), "kafka-tools-"+Version, toolsPom, runMaven)
	inst.classpath += string(os.PathListSeparator) + filepath.Join(tools, "*")
	return inst, err
}

// Console has Kafka's own kafka-console-consumer.sh follow a topic from its beginning until the
// test ends, as a reader of committed records: one that shares no code with what is tested. Hear
// gets its lines: the partition and the headers of each record, as in
//
//	Partition:3	key:value,key:value
func (c *Cluster) Console(topic, log string, hear func(line string)) *childproc.Process {
	c.tb.Helper()
	inst, err := installTools(context.Background())
	if err != nil {
		unavailable(c.tb, err)
	}
	args := []string{"-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", inst.classpath, "org.apache.kafka.tools.consumer.ConsoleConsumer",
		"--bootstrap-server", c.Brokers(), "--topic", topic, "--from-beginning", "--isolation-level", "read_committed", "--command-property", "enable.auto.commit=false"}
	for _, property := range []string{"print.partition=true", "print.offset=true", "print.headers=true", "print.value=false", "print.key=false"} {
		args = append(args, "--formatter-property", property)
	}
	p, err := childproc.Start(childproc.Spec{Name: "console consumer", Guard: true, Path: inst.java, Args: args, Log: log,
		Hear: func(line []byte) { hear(strings.TrimSuffix(string(line), "\n")) }})
	if err != nil {
		c.tb.Fatal(err)
	}
	c.tb.Cleanup(p.Kill)
	return p
}
