package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/exampletest"
)

// A loop of your own, in place of one with auto-commit. An error that passes is tried again by
// Retry; Done may be called from any goroutine, in any order.
func ExampleConsumer_Messages() {
	kafka := exampletest.Start("orders")
	defer kafka.Close()
	kafka.Write("orders", "coffee", "tea", "milk")
	tries := 0
	save := func(context.Context, *kgo.Record) error {
		if tries++; tries == 1 {
			return errors.New("the database is away for a moment")
		}
		return nil
	}

	c, err := consumer.New(consumer.Config{Brokers: kafka.Brokers, Group: "billing", Topics: []string{"orders"}})
	if err != nil {
		log.Fatal(err)
	}
	for m, err := range c.Messages(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		m.Done(m.Retry(func(ctx context.Context) error { return save(ctx, m.Record) }))
		if m.Offset == 2 {
			break // in a service, the loop ends with its context
		}
	}
	fmt.Println("saved after", tries, "tries, committed:", kafka.Committed("billing", "orders"))
	// Output: saved after 4 tries, committed: 3
}

// The options of an existing kgo.NewClient can be given as they are. Those that would break the
// promise, as auto-commit does, are refused by name.
func ExampleNew() {
	_, err := consumer.New(consumer.Config{Options: []kgo.Opt{
		kgo.SeedBrokers("localhost:9092"),
		kgo.ConsumerGroup("billing"),
		kgo.ConsumeTopics("orders"),
		kgo.AutoCommitMarks(),
	}})
	if refused, ok := errors.AsType[*consumer.ConfigError](err); ok {
		fmt.Println("refused:", refused.Value, "in", refused.Field)
	}
	// Output: refused: kgo.AutoCommitMarks in Options[3]
}

// Permanent marks an error that no retry cures: Retry returns it at once. Given to Done it halts
// the input's partition, and nothing behind it is committed. The other partitions go on.
func ExamplePermanent() {
	kafka := exampletest.Start("orders")
	defer kafka.Close()
	kafka.Write("orders", "coffee", "???")

	c, err := consumer.New(consumer.Config{Brokers: kafka.Brokers, Group: "billing", Topics: []string{"orders"}})
	if err != nil {
		log.Fatal(err)
	}
	for m, err := range c.Messages(context.Background()) {
		if halt, ok := errors.AsType[*consumer.HaltError](err); ok {
			fmt.Println("halted at offset", halt.Offset, "for:", halt.Err)
			break
		}
		m.Done(m.Retry(func(context.Context) error {
			if string(m.Value) == "???" {
				return consumer.Permanent(errors.New("no such product"))
			}
			return nil
		}))
	}
	fmt.Println("committed:", kafka.Committed("billing", "orders"))
	// Output:
	// halted at offset 1 for: no such product
	// committed: 1
}

// Batches is for work that is cheaper together, as one INSERT for many inputs is.
func ExampleConsumer_Batches() {
	kafka := exampletest.Start("orders")
	defer kafka.Close()
	kafka.Write("orders", "coffee", "tea", "milk")

	c, err := consumer.New(consumer.Config{Brokers: kafka.Brokers, Group: "billing", Topics: []string{"orders"}})
	if err != nil {
		log.Fatal(err)
	}
	rows := 0
	for batch, err := range c.Batches(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		rows += len(batch.Messages) // insert them here
		batch.DoneAll()
		if rows == 3 {
			break
		}
	}
	fmt.Println("inserted", rows, "rows, committed:", kafka.Committed("billing", "orders"))
	// Output: inserted 3 rows, committed: 3
}

// DoneAll is for inputs that were gathered from several batches or partitions.
func ExampleDoneAll() {
	kafka := exampletest.Start("orders")
	defer kafka.Close()
	kafka.Write("orders", "coffee", "tea", "milk")

	c, err := consumer.New(consumer.Config{Brokers: kafka.Brokers, Group: "billing", Topics: []string{"orders"}})
	if err != nil {
		log.Fatal(err)
	}
	var gathered []*consumer.Message
	for m, err := range c.Messages(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		if gathered = append(gathered, m); len(gathered) == 3 {
			consumer.DoneAll(gathered) // insert them first
			break
		}
	}
	fmt.Println("committed:", kafka.Committed("billing", "orders"))
	// Output: committed: 3
}

// A group that is new to a topic begins with what was written since a point in time.
func ExampleStartAt() {
	kafka := exampletest.Start("orders")
	defer kafka.Close()
	noon := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	kafka.WriteAt("orders", noon.Add(-time.Hour), "old")
	kafka.WriteAt("orders", noon.Add(time.Hour), "new")

	c, err := consumer.New(consumer.Config{Brokers: kafka.Brokers, Group: "billing", Topics: []string{"orders"}, Start: consumer.StartAt(noon)})
	if err != nil {
		log.Fatal(err)
	}
	for m, err := range c.Messages(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("the first one is", string(m.Value))
		m.Done(nil)
		break
	}
	// Output: the first one is new
}

// Hooks are for what belongs to a partition while it is held: a cache to fill, a file to flush. At
// Revoking what was started is done, and the last commit has not been sent yet.
func ExampleHooks() {
	kafka := exampletest.Start("orders")
	defer kafka.Close()
	kafka.Write("orders", "coffee")

	c, err := consumer.New(consumer.Config{
		Brokers: kafka.Brokers, Group: "billing", Topics: []string{"orders"},
		Hooks: consumer.Hooks{
			Assigned: func(_ context.Context, m consumer.Membership, added []*consumer.Assignment) {
				for _, a := range added {
					fmt.Println("gained", a.Topic, a.Partition, "from offset", a.Start, "in group", m.Group)
				}
			},
			Revoking: func(_ context.Context, leaving []*consumer.Assignment) {
				for _, a := range leaving {
					fmt.Println("giving up", a.Topic, a.Partition)
				}
			},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	for m, err := range c.Messages(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		m.Done(nil)
		break
	}
	// Output:
	// gained orders 0 from offset 0 in group billing
	// giving up orders 0
}

// Run is for a dispatcher of your own: it hands over batches, and never waits for their inputs to
// be done. Start says whether an input is still this member's to do.
func ExampleConsumer_Run() {
	kafka := exampletest.Start("orders")
	defer kafka.Close()
	kafka.Write("orders", "coffee", "tea", "milk")

	c, err := consumer.New(consumer.Config{Brokers: kafka.Brokers, Group: "billing", Topics: []string{"orders"}})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var open sync.WaitGroup
	open.Add(3)
	go func() {
		open.Wait()
		stop()
	}()
	err = c.Run(ctx, func(b *consumer.Batch) { // from the poll goroutine: it must not block
		for i := range b.Messages {
			m := &b.Messages[i]
			go func() {
				defer open.Done()
				if m.Start() {
					m.Done(nil)
				}
			}()
		}
	})
	fmt.Println(err, "committed:", kafka.Committed("billing", "orders"))
	// Output: <nil> committed: 3
}

// Check is made for a readiness probe: nil, or what is wrong and what to do.
func ExampleConsumer_Check() {
	kafka := exampletest.Start("orders")
	defer kafka.Close()
	c, err := consumer.New(consumer.Config{Brokers: kafka.Brokers, Group: "billing", Topics: []string{"orders"}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("before:", errors.Is(c.Check(context.Background()), consumer.ErrNotRunning))
	kafka.Write("orders", "coffee")
	for m, err := range c.Messages(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("ready:", c.Check(context.Background()) == nil)
		m.Done(nil)
		break
	}
	// Output:
	// before: true
	// ready: true
}

// Halt is the default for an offset that the log does not have any more: the error names what is
// lost. With ResetEarliest or ResetLatest the partition reads on, and State counts it.
func ExampleOutOfRange() {
	kafka := exampletest.Start("orders")
	defer kafka.Close()
	kafka.Write("orders", "expired", "expired", "coffee")
	kafka.DeleteBefore("orders", 2, "billing") // retention was faster than this group

	c, err := consumer.New(consumer.Config{Brokers: kafka.Brokers, Group: "billing", Topics: []string{"orders"}, OnOutOfRange: consumer.Halt})
	if err != nil {
		log.Fatal(err)
	}
	for _, err := range c.Messages(context.Background()) {
		if halt, ok := errors.AsType[*consumer.HaltError](err); ok {
			fmt.Printf("lost: the offsets %d to %d\n", halt.LostFrom, halt.LostTo-1)
		}
		break
	}
	// Output: lost: the offsets 0 to 1
}
