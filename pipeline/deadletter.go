package pipeline

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/producer"
)

// Headers of a dead letter, after the input's own headers. All values are valid UTF-8. Where an
// input was a dead letter itself (it was sent back to its topic, and failed again), they replace
// those that it had: HeaderCount tells how often it was rejected, and HeaderFirstTopic to
// HeaderFirstTime what the first rejection said. So a letter does not grow with its rounds.
//
// A letter that is refused as too large is written again with less: first with a short error text
// and no stack, then with HeaderTopic to HeaderOffset, HeaderError, HeaderCode and HeaderCount
// only, then without the input's headers, and at last with nothing but key and value, which the
// topic takes if it takes what the input's topic took.
const (
	HeaderTopic     = "ackmark.dlq.topic"     // the input's topic
	HeaderPartition = "ackmark.dlq.partition" // its partition
	HeaderOffset    = "ackmark.dlq.offset"    // its offset
	HeaderTimestamp = "ackmark.dlq.timestamp" // its timestamp, RFC 3339 with milliseconds, UTC
	HeaderGroup     = "ackmark.dlq.group"     // the group that read it
	HeaderError     = "ackmark.dlq.error"     // why it was rejected, at most 4 KiB
	HeaderCode      = "ackmark.dlq.code"      // Kafka's error name, when an output could not be written
	HeaderStack     = "ackmark.dlq.stack"     // the stack of a panic, at most 8 KiB
	HeaderAttempts  = "ackmark.dlq.attempts"  // how often the handler was called
	HeaderTime      = "ackmark.dlq.time"      // when it was rejected, RFC 3339 with milliseconds, UTC
	HeaderCount     = "ackmark.dlq.count"     // how often it was rejected, this time included: 1, 2 …

	// Of the first rejection, where HeaderCount is more than 1.
	HeaderFirstTopic     = "ackmark.dlq.first.topic"
	HeaderFirstPartition = "ackmark.dlq.first.partition"
	HeaderFirstOffset    = "ackmark.dlq.first.offset"
	HeaderFirstError     = "ackmark.dlq.first.error" // at most 1 KiB
	HeaderFirstTime      = "ackmark.dlq.first.time"

	headerPrefix = "ackmark.dlq."
)

const (
	maxErrorText   = 4 << 10
	maxStackText   = 8 << 10
	maxFirstError  = 1 << 10
	shortErrorText = 256
	maxName        = 256 // bytes of a topic, group, code or number that a header repeats
	letterTimeFmt  = "2006-01-02T15:04:05.000Z07:00"
)

// letterSize is how much of it a dead letter carries. Each step is smaller than the one before; the
// last is the input itself.
type letterSize uint8

const (
	letterWhole    letterSize = iota
	letterShort               // a short error text, no stack
	letterBare                // what names the input and why, only
	letterAlone               // the same, without the input's headers
	letterSource              // key, value and, with SourceHeaders, the source
	letterKeyValue            // key and value
)

// tooLarge tells that a smaller letter may pass.
func tooLarge(err *producer.Error) bool {
	switch err.Code {
	case kerr.MessageTooLarge.Message, kerr.RecordListTooLarge.Message, wire.CodeUnitTooLarge, producer.CodeInvalidRecord:
		return true
	}
	return false
}

// deadLetter makes the letter of an input: its key, value and headers byte for byte, and what
// happened.
func (p *Pipeline) deadLetter(m *consumer.Message, r *rejection) producer.Record {
	letter := producer.Record{Topic: p.cfg.DeadLetter.Topic, Key: m.Key, Value: m.Value}
	if r.size >= letterSource {
		return letter
	}
	before := historyOf(m.Headers)
	headers := make([]producer.Header, 0, len(m.Headers)+16)
	if r.size < letterAlone {
		headers = before.appendOwn(headers, m.Headers)
	}
	add := func(key, value string, most int) {
		headers = append(headers, producer.Header{Key: key, Value: []byte(text(value, most))})
	}
	errorText := maxErrorText
	if r.size >= letterShort {
		errorText = shortErrorText
	}
	came := m.Original()
	add(HeaderTopic, came.Topic, maxName)
	add(HeaderPartition, strconv.Itoa(int(came.Partition)), maxName)
	add(HeaderOffset, strconv.FormatInt(came.Offset, 10), maxName)
	add(HeaderError, fmt.Sprint(r.err), errorText) // Sprint: an Error that panics, as of a nil pointer, ends nothing
	if r.code != "" {
		add(HeaderCode, r.code, maxName)
	}
	add(HeaderCount, strconv.FormatInt(before.count+1, 10), maxName)
	if r.size >= letterBare {
		letter.Headers = headers
		return letter
	}
	add(HeaderTimestamp, m.Timestamp.UTC().Format(letterTimeFmt), maxName)
	add(HeaderGroup, p.cfg.Consumer.Group, maxName)
	if e, ok := errors.AsType[*PanicError](r.err); ok && r.size < letterShort {
		add(HeaderStack, string(e.Stack), maxStackText)
	}
	add(HeaderAttempts, strconv.Itoa(r.attempts), maxName)
	add(HeaderTime, time.Now().UTC().Format(letterTimeFmt), maxName)
	if before.count > 0 {
		add(HeaderFirstTopic, before.first.topic, maxName)
		add(HeaderFirstPartition, before.first.partition, maxName)
		add(HeaderFirstOffset, before.first.offset, maxName)
		add(HeaderFirstError, before.first.err, min(maxFirstError, errorText))
		add(HeaderFirstTime, before.first.time, maxName)
	}
	if p.cfg.DeadLetter.Spring {
		headers = p.appendSpring(headers, m, r, errorText)
	}
	letter.Headers = headers
	return letter
}

// history is what an input's headers tell of its earlier rejections. They come from a topic:
// nothing about them is certain.
type history struct {
	count int64 // 0: it was never rejected
	first pastRejection
}

type pastRejection struct{ topic, partition, offset, err, time string }

const maxCount = 1 << 53

func historyOf(headers []producer.Header) (h history) {
	var kept, oldest pastRejection // as a letter says, and the first of each header, which were not replaced once
	letters := int64(0)
	set := func(field *string, value []byte) {
		if *field == "" {
			*field = string(value[:min(len(value), 4*maxErrorText)])
		}
	}
	for i := range headers {
		value := headers[i].Value
		switch headers[i].Key {
		case HeaderFirstTopic:
			set(&kept.topic, value)
		case HeaderFirstPartition:
			set(&kept.partition, value)
		case HeaderFirstOffset:
			set(&kept.offset, value)
		case HeaderFirstError:
			set(&kept.err, value)
		case HeaderFirstTime:
			set(&kept.time, value)
		case HeaderTopic:
			set(&oldest.topic, value)
		case HeaderPartition:
			set(&oldest.partition, value)
		case HeaderOffset:
			letters++
			set(&oldest.offset, value)
		case HeaderError:
			set(&oldest.err, value)
		case HeaderTime:
			set(&oldest.time, value)
		case HeaderCount:
			if len(value) > maxName {
				break
			}
			if n, err := strconv.ParseInt(string(value), 10, 64); err == nil && n > h.count && n < maxCount {
				h.count = n
			}
		}
	}
	h.count = max(h.count, letters)
	h.first = kept
	if kept == (pastRejection{}) {
		h.first = oldest
	}
	return h
}

// appendOwn appends the input's own headers: not those of earlier letters, which would add up from
// round to round.
func (h history) appendOwn(to, from []producer.Header) []producer.Header {
	if h.count == 0 {
		return append(to, from...)
	}
	incidents := 0
	for _, header := range from {
		switch {
		case isLetterHeader(header.Key), header.Key == HeaderSource && ofLetter(header.Value):
			continue
		case header.Key == HeaderIncident:
			if incidents++; incidents > 1 {
				continue
			}
		}
		to = append(to, header)
	}
	return to
}

// ofLetter tells that a source header was written on a dead letter.
func ofLetter(source []byte) bool {
	fields := bytes.SplitN(source, []byte("/"), 5) // topic, partition, offset, output; a group's name may hold anything
	return len(fields) >= 4 && string(fields[3]) == SourceDeadLetter
}

// text makes valid UTF-8 of at most n bytes: errors carry whatever the input had, and a header that
// is read as text must be one.
func text(s string, n int) string {
	if len(s) > 4*n {
		s = s[:4*n]
	}
	return truncate(strings.ToValidUTF8(s, "\uFFFD"), n)
}

// truncate cuts at a rune's start.
func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
