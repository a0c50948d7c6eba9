// Package outlet hands records to Kafka, and finds the guilty one when Kafka refuses a batch.
//
// Kafka's verdict is on a batch: a null key for a compacted topic, a timestamp too far ahead or a
// sum above max.message.bytes refuses every record in it, and the client then fails all that it
// holds of that partition, also other apps' records. Here each record gets a verdict of its own,
// and its neighbours are delivered, in order, once.
//
// # How
//
// Records go through the usual client. A look at the responses on their way to it (tap.go) tells of
// a refusal before the client acts on it: from that moment the partition is under repair. What the
// client held of it comes back by promise, in order; what is handed over meanwhile waits behind it.
// All of it is sent by a second client in groups (mend.go), until nothing is left, and the usual
// client has the partition again.
//
// A record that is larger than the topic's max.message.bytes may fit when it is compressed: only
// Kafka knows. The usual client would refuse it by its size, so its partition is repaired around
// it: the second client takes larger batches. It waits in a queue (wait.go) while records before it
// have no partition yet.
//
// The same look tells what is sent again (batches.go), and by the numbers of its batches whose
// records Kafka took at a second try (tries.go), for metrics.
//
// Three facts of the client carry this, pinned by tests: a refusal fails all records of its
// partition, in order (recBuf.failAllRecords); a record is given its partition, and the hook is
// called, under the lock that failure takes; a batch is not sent if its first record's context has
// ended and nothing of the partition is in flight (recBatch.maybeFailErr).
package outlet
