package main

import (
	"fmt"
	"slices"
	"strings"
)

// contestant is who does the job.
type contestant struct {
	Name  string // on the command line and in JSON
	Title string // in tables
	// program is a directory below peer/, or below java/.
	program string
	java    bool
	env     []string
	// commitMS is the interval of commits that it is told; 0: what the library does by itself.
	commitMS      int
	transactional bool
	sidecar       bool
	// static tells that it can be a static member of its group (KIP-345).
	static bool
	// killSidecar kills the sidecar with the app; such a contestant is not measured for speed.
	killSidecar bool
}

// ours tells Ackmark from the others.
func (c contestant) ours() bool { return c.program == "ackmark" }

const everySecond = 1000

// contestants are all, those of the table's first rows first. Commits go by one second where that
// can be said; Kafka Streams has its own default, too.
var contestants = []contestant{
	{Name: "ackmark-direct", Title: "Ackmark, own producer", program: "ackmark", commitMS: everySecond, static: true},
	{Name: "ackmark-sidecar", Title: "Ackmark, sidecar", program: "ackmark", commitMS: everySecond, sidecar: true},
	{Name: "ackmark-exactly-once", Title: "Ackmark, sidecar, exactly-once", program: "ackmark", env: []string{"MODE=exactly-once"}, sidecar: true, transactional: true},
	{Name: "ackmark-pod", Title: "Ackmark, app and sidecar killed together", program: "ackmark", commitMS: everySecond, sidecar: true, killSidecar: true},
	{Name: "franz-marks", Title: "franz-go, marks in promises", program: "franz-marks", commitMS: everySecond, static: true},
	{Name: "franz-sync", Title: "franz-go, marks after ProduceSync", program: "franz-sync", commitMS: everySecond, static: true},
	{Name: "franz-transact", Title: "franz-go, GroupTransactSession", program: "franz-transact", transactional: true, static: true},
	{Name: "sarama", Title: "sarama", program: "sarama", commitMS: everySecond, static: true},
	{Name: "confluent", Title: "confluent-kafka-go", program: "confluent", commitMS: everySecond, static: true},
	{Name: "kafka-go", Title: "kafka-go", program: "kafka-go", commitMS: everySecond},
	{Name: "watermill", Title: "Watermill", program: "watermill", commitMS: everySecond, static: true},
	{Name: "kafka-streams", Title: "Kafka Streams, commits by 30 s (default)", program: "kafka-streams", java: true, static: true},
	{Name: "kafka-streams-1s", Title: "Kafka Streams, commits by 1 s", program: "kafka-streams", java: true, commitMS: everySecond, static: true},
	{Name: "kafka-streams-exactly-once", Title: "Kafka Streams, exactly_once_v2", program: "kafka-streams", java: true, env: []string{"MODE=exactly_once_v2"}, static: true},
	{Name: "parallel-consumer", Title: "Parallel Consumer", program: "parallel-consumer", java: true, commitMS: everySecond, static: true},
}

// choose finds the contestants of a list of names.
func choose(only string) ([]contestant, error) {
	if only == "" {
		return contestants, nil
	}
	var chosen []contestant
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(contestants, func(c contestant) bool { return c.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no contestant %q: -list prints them", name)
		}
		chosen = append(chosen, contestants[i])
	}
	return chosen, nil
}
