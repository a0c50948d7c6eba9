package pipeline

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/producer"
)

func letterOf(m *consumer.Message, r *rejection) producer.Record {
	p := &Pipeline{cfg: Config{DeadLetter: DeadLetter{Topic: "dead"}, Consumer: consumer.Config{Group: "g\xff"}}}
	return p.deadLetter(m, r)
}

func lastHeader(headers []producer.Header, key string) (value string, n int) {
	for _, h := range headers {
		if h.Key == key {
			value = string(h.Value)
			n++
		}
	}
	return value, n
}

func headerBytes(headers []producer.Header) (n int) {
	for _, h := range headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}

// A letter that is sent back to its topic, and fails again and again, carries its first and its
// last failure, and a count: no more each round.
func TestLettersDoNotGrowWithTheirRounds(t *testing.T) {
	own := []producer.Header{{Key: "trace", Value: []byte("t")}, {Key: HeaderSource, Value: []byte("before/0/1/0/id")}}
	in := &kgo.Record{Topic: "in", Value: []byte("poison"), Headers: own, Timestamp: time.UnixMilli(1)}
	second := 0
	for round := 1; round <= 200; round++ {
		in.Offset = int64(100 + round)
		why := errors.New("round " + strconv.Itoa(round) + strings.Repeat(" long reason", 1000))
		letter := letterOf(&consumer.Message{Record: in}, &rejection{err: &PanicError{Value: why, Stack: make([]byte, 20_000)}, attempts: 1})
		stamped := append(letter.Headers, producer.Header{Key: HeaderSource, Value: []byte("in/0/" + strconv.Itoa(round) + "/dl/id")},
			producer.Header{Key: HeaderIncident, Value: []byte("lost")})
		if round == 2 {
			second = headerBytes(stamped)
		}
		if size := headerBytes(stamped); round > 2 && size > second+100 {
			t.Fatalf("round %d: %d bytes of headers, %d in round 2", round, size, second)
		}
		for key, want := range map[string]string{HeaderCount: strconv.Itoa(round), HeaderOffset: strconv.Itoa(100 + round), "trace": "t"} {
			if got, n := lastHeader(stamped, key); got != want || n != 1 {
				t.Fatalf("round %d: %s is %q, %d times; want %q once", round, key, got, n, want)
			}
		}
		if got, n := lastHeader(stamped, HeaderFirstOffset); round > 1 && (got != "101" || n != 1) || round == 1 && n != 0 {
			t.Fatalf("round %d: %s is %q, %d times", round, HeaderFirstOffset, got, n)
		}
		if got, _ := lastHeader(stamped, HeaderFirstError); round > 1 && !strings.Contains(got, "round 1 long") {
			t.Fatalf("round %d: the first error is %.40q", round, got)
		}
		in = &kgo.Record{Topic: "in", Value: letter.Value, Headers: stamped}
	}
	if _, n := lastHeader(in.Headers, HeaderSource); n != 2 { // where the input was made, and where the letter was
		t.Errorf("%d source headers", n)
	}
}

// Letters of a version that appended to them, and headers that lie.
func TestHistoryOfForeignHeaders(t *testing.T) {
	old := []producer.Header{
		{Key: HeaderOffset, Value: []byte("1")}, {Key: HeaderError, Value: []byte("first")},
		{Key: HeaderOffset, Value: []byte("2")}, {Key: HeaderError, Value: []byte("second")},
	}
	if h := historyOf(old); h.count != 2 || h.first.offset != "1" || h.first.err != "first" {
		t.Errorf("of two letters in one: %+v", h)
	}
	for _, count := range []string{"-5", "x", "99999999999999999999", "9223372036854775807", strings.Repeat("9", 10_000)} {
		h := historyOf([]producer.Header{{Key: HeaderCount, Value: []byte(count)}, {Key: HeaderFirstError, Value: make([]byte, 1<<20)}})
		if h.count != 0 || len(h.first.err) > 1<<15 {
			t.Errorf("count %.30q: %d, %d bytes of error", count, h.count, len(h.first.err))
		}
	}
}

// Each smaller letter is smaller, and the smallest is the input without its headers.
func TestLettersShrink(t *testing.T) {
	in := &kgo.Record{Topic: "in", Key: []byte("k"), Value: []byte("v"), Headers: []producer.Header{
		{Key: "a", Value: make([]byte, 500)}, {Key: HeaderOffset, Value: []byte("1")}, {Key: HeaderCount, Value: []byte("7")}}}
	before := 1 << 30
	for size := letterWhole; size <= letterKeyValue; size++ {
		r := &rejection{err: &PanicError{Value: strings.Repeat("x", 5000), Stack: make([]byte, 9000)}, attempts: 1, code: "SOME_ERROR", size: size}
		letter := letterOf(&consumer.Message{Record: in}, r)
		n := headerBytes(letter.Headers)
		if n >= before && size != letterKeyValue {
			t.Errorf("size %d has %d bytes of headers, the one before %d", size, n, before)
		}
		if size >= letterSource && n != 0 || string(letter.Key) != "k" || string(letter.Value) != "v" {
			t.Errorf("size %d: %d bytes of headers, key %q, value %q", size, n, letter.Key, letter.Value)
		}
		if _, has := lastHeader(letter.Headers, "a"); (has == 1) != (size < letterAlone) {
			t.Errorf("size %d: the input's own header is there %d times", size, has)
		}
		before = n
	}
}

func TestLetterTextIsUTF8(t *testing.T) {
	for _, bad := range []string{"cannot parse bad \xff\xfe bytes", strings.Repeat("\x80", 6000), strings.Repeat("ä", 5000) + "\xc3", strings.Repeat("\xe2\x82", 9000)} {
		letter := letterOf(&consumer.Message{Record: &kgo.Record{Topic: "in"}}, &rejection{err: errors.New(bad), attempts: 1, code: "X\xff"})
		for _, h := range letter.Headers {
			if !utf8.Valid(h.Value) {
				t.Errorf("%s is no UTF-8: %.60q", h.Key, h.Value)
			}
		}
		if got, _ := lastHeader(letter.Headers, HeaderError); got == "" || len(got) > maxErrorText {
			t.Errorf("%d bytes of error text", len(got))
		}
	}
	if s := sourceOf(&consumer.Assignment{Topic: "in", Again: strings.Repeat("ä", 200)}, "g"); !utf8.Valid(s.incident) || len(s.incident) > maxIncident {
		t.Errorf("incident %q", s.incident)
	}
}

// An input is what it was, whatever was done to it; and what was made of it stays as it is, too:
// outputs point there.
func TestOriginal(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	some := func() []byte {
		switch n := rnd.IntN(5); n {
		case 0:
			return nil
		case 1:
			return []byte{}
		default:
			return []byte(strings.Repeat("abc", n))
		}
	}
	fresh := func() *kgo.Record {
		r := &kgo.Record{Topic: "in", Partition: 3, Offset: 7, Timestamp: time.UnixMilli(5), Key: some(), Value: some()}
		for range rnd.IntN(3) {
			r.Headers = append(r.Headers, producer.Header{Key: "h", Value: some()})
		}
		return r
	}
	clone := func(r *kgo.Record) *kgo.Record {
		c := *r
		keep := func(b []byte) []byte {
			if b == nil {
				return nil
			}
			return append([]byte{}, b...)
		}
		c.Key, c.Value = keep(r.Key), keep(r.Value)
		if r.Headers != nil {
			c.Headers = make([]producer.Header, len(r.Headers))
			for i, h := range r.Headers {
				c.Headers[i] = producer.Header{Key: h.Key, Value: keep(h.Value)}
			}
		}
		return &c
	}
	changes := []func(m *consumer.Message){
		func(m *consumer.Message) { m.Value = append([]byte{}, "other"...) },
		func(m *consumer.Message) { m.Key = nil },
		func(m *consumer.Message) { m.Value = []byte{} },
		func(m *consumer.Message) { m.Headers = append(m.Headers, producer.Header{Key: "new"}) },
		func(m *consumer.Message) { m.Headers = nil },
		func(m *consumer.Message) { m.Offset, m.Topic, m.Partition, m.Timestamp = 1, "x", 9, time.Time{} },
		func(m *consumer.Message) { m.Record = &kgo.Record{} },
		func(m *consumer.Message) {
			for i := range m.Value {
				m.Value[i] ^= 0xff
			}
		},
		func(m *consumer.Message) {
			for i := range m.Headers {
				m.Headers[i].Key = "other"
				for j := range m.Headers[i].Value {
					m.Headers[i].Value[j] = 0
				}
			}
		},
	}
	var book copies
	for range 3000 {
		book.reset()
		var kept [3]original
		var in, want [3]*consumer.Message
		for i := range in {
			r := fresh()
			in[i], want[i] = consumer.NewMessage(r, nil), &consumer.Message{Record: clone(r)}
			book.keep(&kept[i], in[i])
		}
		for i := range in {
			for range rnd.IntN(3) {
				changes[rnd.IntN(len(changes))](in[i])
			}
			made := append([]byte{}, in[i].Value...)
			output := in[i].Value
			book.restore(&kept[i], in[i])
			putBack(in[i].Record, in[i].Original())
			if !reflect.DeepEqual(in[i].Record, want[i].Record) {
				t.Fatalf("input %+v, want %+v", in[i].Record, want[i].Record)
			}
			if string(output) != string(made) {
				t.Fatalf("the output %q became %q", made, output)
			}
		}
	}
}

// BenchmarkOriginal is what the copy costs an input that nobody changes.
func BenchmarkOriginal(b *testing.B) {
	for _, size := range []int{0, 100, 1000, 10_000, 1_000_000} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			m := &consumer.Message{Record: &kgo.Record{Topic: "in", Key: []byte("key-1234"), Value: make([]byte, size)}}
			var book copies
			var o original
			b.ReportAllocs()
			for b.Loop() {
				book.reset()
				book.keep(&o, m)
				book.restore(&o, m)
			}
		})
		b.Run(strconv.Itoa(size)+", a private copy instead", func(b *testing.B) {
			m := &consumer.Message{Record: &kgo.Record{Topic: "in", Key: []byte("key-1234"), Value: make([]byte, size)}}
			var arena []byte
			b.ReportAllocs()
			for b.Loop() {
				n := len(m.Key) + len(m.Value)
				if cap(arena)-len(arena) < n {
					arena = make([]byte, 0, max(n, 64<<10))
				}
				r := new(kgo.Record)
				*r = *m.Record
				arena = append(append(arena, m.Key...), m.Value...)
				r.Value = arena[len(arena)-len(m.Value):]
				privately = &consumer.Message{Record: r}
			}
		})
	}
}

var privately *consumer.Message

// Whether an output is a letter is said by its number alone: a group may be called what it likes.
func TestOfLetter(t *testing.T) {
	for text, want := range map[string]bool{
		"in/0/7/dl": true, "in/0/7/dl/id": true, "in/0/7/dl/1/id/g": true, "in/0/7/0/1/id/team/dl": false, "in/0/7/0/1/id/dl/g": false, "in/0/7/0": false, "dl": false, "": false,
	} {
		if ofLetter([]byte(text)) != want {
			t.Errorf("%q: want %t", text, want)
		}
	}
}
