// Package settings is what the driver tells a peer: environment variables, the same for all, also
// for those in Java.
package settings

import (
	"bytes"
	"context"
	"log"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Settings of a peer.
type Settings struct {
	Brokers       []string      // KAFKA_BROKERS
	Group         string        // GROUP
	Input, Output string        // INPUT, OUTPUT
	CommitEvery   time.Duration // COMMIT_MS; 0: what the library does by itself
	InstanceID    string        // INSTANCE_ID: a static member; "": none
	Transactional string        // TRANSACTIONAL_ID
	Sidecar       string        // SIDECAR: Ackmark's; "": no sidecar
	StateDir      string        // STATE_DIR: of this process, whenever it is started again
}

// Read reads the environment. The context ends with SIGTERM.
func Read() (context.Context, Settings) {
	ms, err := strconv.Atoi(os.Getenv("COMMIT_MS"))
	if err != nil {
		log.Fatal("COMMIT_MS: ", err)
	}
	ctx, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	return ctx, Settings{
		Brokers: strings.Split(os.Getenv("KAFKA_BROKERS"), ","), Group: os.Getenv("GROUP"), Input: os.Getenv("INPUT"), Output: os.Getenv("OUTPUT"),
		CommitEvery: time.Duration(ms) * time.Millisecond, InstanceID: os.Getenv("INSTANCE_ID"), Transactional: os.Getenv("TRANSACTIONAL_ID"),
		Sidecar: os.Getenv("SIDECAR"), StateDir: os.Getenv("STATE_DIR"),
	}
}

// Transform is the work of the job.
func Transform(value []byte) []byte { return bytes.ToUpper(value) }
