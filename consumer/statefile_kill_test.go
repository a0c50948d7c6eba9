//go:build (linux || darwin) && !portable

package consumer

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	childDir     = "ACKMARK_CONSUMER_CHILD_DIR"
	childBrokers = "ACKMARK_CONSUMER_CHILD_BROKERS"
)

// loopForEver is a plain loop, with everything as by default but commits by time. It says which
// input it has, and is done with it when it is told so.
func loopForEver(dir, brokers string) {
	c, err := New(Config{Brokers: []string{brokers}, Group: groupName, Topics: []string{topic}, StateDir: dir, CommitEvery: time.Hour})
	if err != nil {
		panic(err)
	}
	for m, err := range c.Messages(context.Background()) {
		if err != nil {
			panic(err)
		}
		fmt.Println("has", m.Offset)
		if _, err := io.ReadFull(os.Stdin, make([]byte, 1)); err != nil {
			panic(err)
		}
		m.Done(nil)
	}
}

// A plain loop is killed by SIGKILL amid its work, four times, and started again each time. It
// never commits by itself. Only the input that it had in hand is done again, and nobody waits for
// its session's 45 s.
func TestALoopIsKilledAndStartedAgain(t *testing.T) {
	if dir := os.Getenv(childDir); dir != "" {
		loopForEver(dir, os.Getenv(childBrokers))
		return
	}
	const inputs, kills = 500, 4
	kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, topic))
	wantNil(t, err)
	defer kafka.Close()
	feeder, err := kgo.NewClient(kgo.SeedBrokers(kafka.ListenAddrs()...), kgo.DefaultProduceTopic(topic), kgo.DisableClientMetrics())
	wantNil(t, err)
	defer feeder.Close()
	for i := range inputs {
		feeder.Produce(t.Context(), kgo.StringRecord(strconv.Itoa(i)), nil)
	}
	wantNil(t, feeder.Flush(t.Context()))
	dir, had := t.TempDir(), make([]int, inputs)
	slowest := time.Duration(0)
	for life := range kills + 1 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestALoopIsKilledAndStartedAgain$")
		cmd.Env = append(os.Environ(), childDir+"="+dir, childBrokers+"="+kafka.ListenAddrs()[0])
		out, err := cmd.StdoutPipe()
		wantNil(t, err)
		in, err := cmd.StdinPipe()
		wantNil(t, err)
		begun, end := time.Now(), inputs*(life+1)/(kills+1)-1
		wantNil(t, cmd.Start())
		first := true
		for lines := bufio.NewScanner(out); lines.Scan(); {
			text, ok := strings.CutPrefix(lines.Text(), "has ")
			offset, err := strconv.Atoi(text)
			if !ok || err != nil {
				continue
			}
			if first && life > 0 {
				slowest = max(slowest, time.Since(begun))
			}
			first = false
			if had[offset]++; offset == end {
				break // it has this one in hand
			}
			_, err = in.Write([]byte{1})
			wantNil(t, err)
		}
		wantNil(t, cmd.Process.Kill())
		_ = cmd.Wait()
	}
	again := 0
	for offset, n := range had {
		again += n - 1
		if inHand := (offset+1)%(inputs/(kills+1)) == 0; n == 0 || n > 2 || n == 2 && !inHand {
			t.Errorf("input %d was handed out %d times", offset, n)
		}
	}
	if slowest > 20*time.Second {
		t.Errorf("the first input after a kill came after %s: the session was waited for", slowest)
	}
	t.Logf("%d inputs, %d kills: %d handed out again, of %d in hand; the first one after a kill came within %s", inputs, kills, again, kills, slowest)
}
