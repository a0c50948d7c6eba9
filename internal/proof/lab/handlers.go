package lab

import (
	"bytes"
	"errors"
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/proof/verify"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
)

// Handler is what Config.Handler is.
type Handler = func(l *Lab, in *consumer.Message) ([]producer.Record, error)

// Upper is the default handler: the value in upper case, under the same key, to Out.
func Upper(_ *Lab, in *consumer.Message) ([]producer.Record, error) {
	return []producer.Record{{Topic: Out, Key: in.Key, Value: bytes.ToUpper(in.Value)}}, nil
}

// Thrice is a handler with three outputs; it needs Config.PerInput 3.
func Thrice(_ *Lab, in *consumer.Message) ([]producer.Record, error) {
	var out []producer.Record
	for i := range 3 {
		out = append(out, producer.Record{Topic: Out, Key: in.Key, Value: bytes.ToUpper(verify.WithOut(in.Value, i))})
	}
	return out, nil
}

// Trouble is Upper with shares of the inputs that are rejected, that panic, and that fail at first.
// It needs Config.DeadLetter.
func Trouble(l *Lab, in *consumer.Message) ([]producer.Record, error) {
	switch {
	case l.Chance("poison", in, 0.03):
		return nil, pipeline.Reject(errors.New("poison"))
	case l.Chance("panic", in, 0.01):
		panic("handler")
	case l.Chance("flaky", in, 0.05) && l.FirstTime(in):
		return nil, errors.New("not this time")
	case l.Chance("later", in, 0.02) && l.FirstTime(in):
		return nil, pipeline.Retry(errors.New("later"), 300*time.Millisecond)
	}
	return Upper(l, in)
}

// SetHandler replaces the handler, before the first app starts: for one that needs channels of the
// bubble.
func (l *Lab) SetHandler(h Handler) { l.cfg.Handler = h }

// FirstTime is true once for each input in the lab. From any goroutine.
func (l *Lab) FirstTime(in *consumer.Message) bool {
	_, before := l.seen.LoadOrStore([2]int64{int64(in.Partition), in.Offset}, true)
	return !before
}

// Chance is true for this share of the inputs, the same ones whenever it is asked. From any
// goroutine.
func (l *Lab) Chance(what string, in *consumer.Message, share float64) bool {
	return float64(l.hash(what, in.Partition, in.Offset)>>11)/(1<<53) < share
}

// hash is a random number that belongs to an input, whoever asks and however often.
func (l *Lab) hash(what string, partition int32, offset int64) uint64 {
	x := l.cfg.Seed
	for _, b := range []byte(what) {
		x = splitmix(x ^ uint64(b))
	}
	return splitmix(x ^ uint64(partition)<<40 ^ uint64(offset))
}

func splitmix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
