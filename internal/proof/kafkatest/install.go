package kafkatest

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Version is the Kafka that is started where neither [Config] nor the environment says another.
// testdata/pom.xml has it too.
const Version = "4.3.1"

//go:embed testdata/pom.xml
var pom string

var knownVersion = regexp.MustCompile(`^[2-9]\.\d{1,2}\.\d{1,2}$`)

// minJava is what Kafka 4 brokers need.
const minJava = 17

// errMissing is what makes tests skip: something that the machine does not have.
var errMissing = errors.New("kafkatest: real brokers cannot be started here")

func missing(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errMissing}, args...)...)
}

// installation is what a broker is started with.
type installation struct{ java, classpath string }

func install(ctx context.Context, version string) (installation, error) {
	java, err := findJava(ctx)
	if err != nil {
		return installation{}, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return installation{}, missing("no cache directory for Kafka's jars: %v. Set HOME or XDG_CACHE_HOME", err)
	}
	list := strings.Replace(pom, "<version>"+Version+"<", "<version>"+version+"<", 1)
	libs, err := fetchJars(ctx, filepath.Join(cache, "ackmark"), "kafka-"+version, list, runMaven)
	return installation{java: java, classpath: filepath.Join(libs, "*")}, err
}

var javaVersion = regexp.MustCompile(`version "(\d+)`)

func findJava(ctx context.Context) (string, error) {
	const remedy = "Install a Java runtime (Debian: apt-get install openjdk-17-jre-headless maven; macOS: brew install openjdk maven)," +
		" or set KAFKA_BROKERS to use a cluster of yours"
	path := "java"
	if home := os.Getenv("JAVA_HOME"); home != "" {
		path = filepath.Join(home, "bin", "java")
	}
	path, err := exec.LookPath(path)
	if err != nil {
		return "", missing("no Java %d or newer: %v. %s", minJava, err, remedy)
	}
	out, err := exec.CommandContext(ctx, path, "-version").CombinedOutput()
	m := javaVersion.FindSubmatch(out)
	if err != nil || m == nil {
		return "", missing("%s -version: %v, %q. %s", path, err, out, remedy)
	}
	if major, _ := strconv.Atoi(string(m[1])); major < minJava {
		return "", missing("%s is Java %d, Kafka %s needs %d. %s", path, major, Version, minJava, remedy)
	}
	return path, nil
}

// fetchJars returns the directory with the jars of a list, after having had it filled once per
// machine. Test processes of several packages come here at the same time: one holds the lock and
// downloads, the others wait. The directory appears by rename, so it is whole or not there.
func fetchJars(ctx context.Context, cache, name, list string, maven func(ctx context.Context, dir string) error) (string, error) {
	libs := filepath.Join(cache, name)
	if _, err := os.Stat(libs); err == nil {
		return libs, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", missing("%v", err)
	}
	lock, err := os.OpenFile(libs+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", missing("%v", err)
	}
	defer lock.Close() // and with it the lock goes, also when this process dies
	if err := lockFile(lock); err != nil {
		return "", missing("lock %s: %v", lock.Name(), err)
	}
	if _, err := os.Stat(libs); err == nil {
		return libs, nil
	}
	tmp, err := os.MkdirTemp(cache, "download-*")
	if err != nil {
		return "", missing("%v", err)
	}
	defer os.RemoveAll(tmp)
	if err := os.WriteFile(filepath.Join(tmp, "pom.xml"), []byte(list), 0o644); err != nil {
		return "", missing("%v", err)
	}
	if err := maven(ctx, tmp); err != nil {
		return "", err
	}
	if err := os.Rename(filepath.Join(tmp, "libs"), libs); err != nil {
		return "", missing("%v", err)
	}
	return libs, nil
}

// runMaven copies the jars that dir/pom.xml names to dir/libs.
func runMaven(ctx context.Context, dir string) error {
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return missing("Kafka's jars are not in the cache and there is no Maven to get them: %v. Install it (Debian: apt-get install maven;"+
			" macOS: brew install maven), or set KAFKA_BROKERS to use a cluster of yours", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, mvn, "-q", "-B", "-f", filepath.Join(dir, "pom.xml"), "dependency:copy-dependencies",
		"-DincludeScope=runtime", "-DoutputDirectory="+filepath.Join(dir, "libs"))
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return missing("Maven could not get Kafka (%v). Run it with a way to Maven Central once, the jars are kept; it said:\n%s",
			err, bytes.TrimSpace(out))
	}
	return nil
}
