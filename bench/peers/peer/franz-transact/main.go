// Command franz-transact is the job by franz-go's GroupTransactSession: outputs and offsets of each
// poll in one transaction.
//
// Source: the page on transactions and examples/transactions (eosConsumer) of franz-go. A session's
// time-outs and its transactional id are the client's defaults and the same whenever the process is
// started again; what the example prints is left out.
package main

import (
	"context"
	"log"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/bench/peers/peer/settings"
)

func main() {
	ctx, s := settings.Read()
	opts := []kgo.Opt{
		kgo.SeedBrokers(s.Brokers...),
		kgo.DefaultProduceTopic(s.Output),
		kgo.TransactionalID(s.Transactional),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumerGroup(s.Group),
		kgo.ConsumeTopics(s.Input),
		kgo.RequireStableFetchOffsets(),
	}
	if s.InstanceID != "" {
		opts = append(opts, kgo.InstanceID(s.InstanceID))
	}
	session, err := kgo.NewGroupTransactSession(opts...)
	if err != nil {
		log.Fatal(err)
	}
	defer session.Close()
	work := context.Background() // a transaction that has begun is ended, also when SIGTERM comes
	for ctx.Err() == nil {
		fetches := session.PollFetches(ctx)
		if ctx.Err() != nil {
			return
		}
		for _, e := range fetches.Errors() {
			log.Printf("fetch %s/%d: %v", e.Topic, e.Partition, e.Err)
		}
		if err := session.Begin(); err != nil {
			log.Fatal("begin: ", err)
		}
		first := kgo.AbortingFirstErrPromise(session.Client())
		fetches.EachRecord(func(in *kgo.Record) {
			session.Produce(work, &kgo.Record{Key: in.Key, Value: settings.Transform(in.Value)}, first.Promise())
		})
		committed, err := session.End(work, first.Err() == nil)
		switch {
		case err != nil:
			log.Fatal("end: ", err)
		case !committed: // a rebalance: what it had is read again
			log.Print("a transaction was aborted")
		}
	}
}
