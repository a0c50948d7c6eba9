package kafkatest_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/ackmark/ackmark/internal/proof/kafkatest"
)

// The test binary runs itself with this set: the test that starts a broker then waits to be killed.
const victimEnv = "ACKMARK_KAFKATEST_VICTIM"

func TestMain(m *testing.M) { goleak.VerifyTestMain(kafkatest.Main{M: m}) }

func produce(t *testing.T, c *kafkatest.Cluster, topic string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r := &kgo.Record{Topic: topic, Partition: 0, Value: []byte("v")}
	if err := c.Client(kgo.RecordPartitioner(kgo.ManualPartitioner())).ProduceSync(ctx, r).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// leads waits for a leader: on a machine that is so busy that heartbeats are late, leadership
// wanders by itself for a moment.
func leads(t *testing.T, c *kafkatest.Cluster, topic string, want int) {
	t.Helper()
	kafkatest.Eventually(t, 30*time.Second, "the leader of partition 0", func() error {
		if got := c.LeaderOf(topic, 0); got != want {
			return fmt.Errorf("it is %d, want %d", got, want)
		}
		return nil
	})
}

func TestThreeBrokers(t *testing.T) {
	c := kafkatest.Shared(t, kafkatest.Config{Brokers: 3})
	c.CanBreak()
	topic := c.CreateTopic("three", 3, nil)
	produce(t, c, topic)

	for to := range 3 {
		c.MoveLeader(topic, 0, to)
		leads(t, c, topic, to)
	}
	dead := c.LeaderOf(topic, 0)
	c.Kill(dead)
	produce(t, c, topic)
	if got := c.LeaderOf(topic, 0); got == dead {
		t.Fatalf("broker %d leads though it is dead", dead)
	}
	c.Restart(dead)
	c.Repair()
	leads(t, c, topic, dead) // the preferred one
	frozen := c.GroupCoordinator(c.Name("group"))
	c.Pause(frozen)
	c.MoveLeader(topic, 0, (frozen+1)%3)
	produce(t, c, topic)
	c.Resume(frozen)
	c.Kill((frozen + 1) % 3) // the end of the test repairs it
}

// Runs after the test above on the same brokers.
func TestSharedBrokersAreRepaired(t *testing.T) {
	c := kafkatest.Shared(t, kafkatest.Config{Brokers: 3})
	m, err := c.Admin().BrokerMetadata(t.Context())
	if err != nil || len(m.Brokers) < 1 || (os.Getenv("KAFKA_BROKERS") == "" && len(m.Brokers) != 3) {
		t.Fatalf("%d brokers, %v", len(m.Brokers), err)
	}
	produce(t, c, c.CreateTopic("again", 1, map[string]string{"retention.ms": "60000"}))
}

func TestKilledTestProcessLeavesNoBroker(t *testing.T) {
	if os.Getenv(victimEnv) != "" {
		c := kafkatest.Start(t, kafkatest.Config{Properties: map[string]string{"num.partitions": "7"}})
		produce(t, c, c.CreateTopic("victim", -1, nil))
		fmt.Println("PIDS", strings.Join(kafkatest.Pids(c), " "), kafkatest.DataDir(c), kafkatest.LogDir(c))
		select {}
	}
	if os.Getenv("KAFKA_BROKERS") != "" {
		t.Skip("KAFKA_BROKERS is set: this test is about brokers that it starts itself")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledTestProcessLeavesNoBroker$")
	cmd.Env = append(os.Environ(), victimEnv+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "PIDS") {
		t.Log(lines.Text())
	}
	found := strings.Fields(lines.Text())
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if len(found) != 4 {
		kafkatest.Require(t)
		t.Fatal("the other process did not start a broker")
	}
	t.Cleanup(func() { _ = os.RemoveAll(found[3]) }) // logs are kept when a test dies
	for _, path := range []string{"/proc/" + found[1], found[2]} {
		kafkatest.Eventually(t, 10*time.Second, "the end of what the killed test process had", func() error {
			if _, err := os.Stat(path); err == nil {
				return fmt.Errorf("%s is still there", path)
			}
			return nil
		})
	}
}
