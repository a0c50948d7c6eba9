package main

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// buildLimit bounds the build of one program, with its downloads.
const buildLimit = 10 * time.Minute

// sidecarCommand is the name of the program that sidecars are.
const sidecarCommand = "ackmark-command"

// build compiles the programs. A contestant that cannot be built here (no C compiler, no Maven) is
// left out, and the result says so.
func (d *driver) build(ctx context.Context, chosen []contestant) (built []contestant, err error) {
	tried := map[string]error{}
	for _, c := range chosen {
		if _, done := tried[sidecarCommand]; c.sidecar && !done {
			if err := d.goBuild(ctx, d.root, "./cmd/ackmark", sidecarCommand); err != nil {
				return nil, err
			}
			tried[sidecarCommand] = nil
		}
		err, again := tried[c.program]
		if !again {
			d.say("building %s", c.program)
			if c.java {
				err = d.mavenBuild(ctx, c.program)
			} else {
				err = d.goBuild(ctx, d.peers(), "./peer/"+c.program, c.program)
			}
			tried[c.program] = err
		}
		if err != nil {
			d.missing[c.Name] = err.Error()
			d.say("without %s: %v", c.Name, err)
			continue
		}
		built = append(built, c)
	}
	if len(built) == 0 {
		return nil, errors.New("no contestant could be built")
	}
	return built, nil
}

// peers is the directory of this module.
func (d *driver) peers() string { return filepath.Join(d.root, "bench", "peers") }

func (d *driver) goBuild(ctx context.Context, dir, pkg, name string) error {
	return command(ctx, dir, "go", "build", "-o", filepath.Join(d.bin, name), pkg)
}

// mavenBuild compiles a Java peer and gets its jars.
func (d *driver) mavenBuild(ctx context.Context, program string) error {
	return command(ctx, filepath.Join(d.peers(), "java", program), "mvn", "-q", "-B", "compile", "dependency:copy-dependencies", "-DincludeScope=runtime")
}

func command(ctx context.Context, dir, name string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, buildLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return fmt.Errorf("%s %s: %w: %s", name, args[0], err, strings.Join(lines[:min(8, len(lines))], "\n"))
}

// libraries are those whose versions a contestant's table shows, by program.
var libraries = map[string]string{
	"franz-marks": "github.com/twmb/franz-go", "franz-sync": "github.com/twmb/franz-go", "franz-transact": "github.com/twmb/franz-go",
	"sarama": "github.com/IBM/sarama", "confluent": "github.com/confluentinc/confluent-kafka-go/v2", "kafka-go": "github.com/segmentio/kafka-go",
	"watermill": "github.com/ThreeDotsLabs/watermill-kafka/v3", "kafka-streams": "kafka-streams", "parallel-consumer": "parallel-consumer-core",
}

var jarVersion = regexp.MustCompile(`-(\d[\w.]*)\.jar$`)

// version is that of the library that a contestant is.
func (d *driver) version(c contestant) string {
	if c.ours() {
		out, err := exec.Command("git", "-C", d.root, "describe", "--always", "--dirty").Output()
		if err != nil {
			return "this tree"
		}
		return strings.TrimSpace(string(out))
	}
	library := libraries[c.program]
	if c.java {
		jars, _ := filepath.Glob(filepath.Join(d.peers(), "java", c.program, "target", "dependency", library+"-[0-9]*.jar"))
		for _, jar := range jars {
			if m := jarVersion.FindStringSubmatch(jar); m != nil {
				return m[1]
			}
		}
		return "unknown"
	}
	info, err := buildinfo.ReadFile(filepath.Join(d.bin, c.program))
	if err != nil {
		return "unknown"
	}
	for _, m := range info.Deps {
		if m.Path == library {
			return m.Version
		}
	}
	return "unknown"
}

// java is the JVM that starts Java peers.
func java() string {
	if home := os.Getenv("JAVA_HOME"); home != "" {
		return filepath.Join(home, "bin", "java")
	}
	return "java"
}

// javaVersion is the first line of what it says of itself.
func javaVersion() string {
	out, err := exec.Command(java(), "-version").CombinedOutput()
	if err != nil {
		return "none"
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return strings.ReplaceAll(first, "\"", "")
}
