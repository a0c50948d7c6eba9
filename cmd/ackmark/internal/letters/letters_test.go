package letters

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/pipeline"
)

func headers(pairs ...string) (all []kgo.RecordHeader) {
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, kgo.RecordHeader{Key: pairs[i], Value: []byte(pairs[i+1])})
	}
	return all
}

// What a letter's headers say, whole, small, foreign and hostile.
func TestWhatALetterSays(t *testing.T) {
	written := time.Unix(1000, 0)
	for name, c := range map[string]struct {
		headers []kgo.RecordHeader
		want    Letter
	}{
		"whole": {
			headers(pipeline.HeaderTopic, "orders", pipeline.HeaderPartition, "3", pipeline.HeaderOffset, "17", pipeline.HeaderError, "bad", pipeline.HeaderCode, "X",
				pipeline.HeaderCount, "2", pipeline.HeaderTime, "2026-01-02T03:04:05.000Z", pipeline.HeaderGroup, "g", pipeline.HeaderAttempts, "4"),
			Letter{Source: "orders", SourcePartition: 3, SourceOffset: 17, Error: "bad", Code: "X", Rounds: 1, Group: "g", Attempts: "4", Rejected: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)},
		},
		"the smallest, which has its source only": {
			headers(pipeline.HeaderSource, "orders/3/17/dl/1/id/group/with/slashes"),
			Letter{Source: "orders", SourcePartition: 3, SourceOffset: 17, Rejected: written},
		},
		"an output is no letter":   {headers(pipeline.HeaderSource, "orders/3/17/0/1/id/g"), Letter{SourcePartition: -1, SourceOffset: -1, Rejected: written}},
		"another program's letter": {headers("kafka_dlt-exception-message", "bad", "x-source", "orders"), Letter{SourcePartition: -1, SourceOffset: -1, Rejected: written}},
		"the last of a name counts": {
			headers(pipeline.HeaderTopic, "of the input", pipeline.HeaderTopic, "orders"), Letter{Source: "orders", SourcePartition: -1, SourceOffset: -1, Rejected: written},
		},
		"no numbers": {
			headers(pipeline.HeaderTopic, "orders", pipeline.HeaderPartition, "-3", pipeline.HeaderOffset, strings.Repeat("9", 50), pipeline.HeaderCount, "many", pipeline.HeaderTime, "now"),
			Letter{Source: "orders", SourcePartition: -1, SourceOffset: -1, Rejected: written},
		},
		"given back by hand": {headers(HeaderRedriven, "5", pipeline.HeaderCount, "2"), Letter{SourcePartition: -1, SourceOffset: -1, Rounds: 5, Rejected: written}},
	} {
		got := Of(&kgo.Record{Timestamp: written, Headers: c.headers})
		got.Headers, got.Written = nil, time.Time{}
		if !got.Rejected.Equal(c.want.Rejected) {
			t.Errorf("%s: rejected %s, want %s", name, got.Rejected, c.want.Rejected)
		}
		got.Rejected, c.want.Rejected = time.Time{}, time.Time{}
		if got.Source != c.want.Source || got.SourcePartition != c.want.SourcePartition || got.SourceOffset != c.want.SourceOffset || got.Rounds != c.want.Rounds ||
			got.Error != c.want.Error || got.Code != c.want.Code || got.Group != c.want.Group || got.Attempts != c.want.Attempts {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestDecide(t *testing.T) {
	at := time.Unix(1000, 0)
	letter := Letter{Source: "orders", Partition: 2, Offset: 7, Key: []byte("k"), Error: "bad amount", Code: "MESSAGE_TOO_LARGE", Rejected: at, Rounds: 1}
	unnamed, loop, keyless := letter, letter, letter
	unnamed.Source, loop.Source, keyless.Key = "", "dead", nil
	for name, c := range map[string]struct {
		rule   Rule
		letter Letter
		to     string
		stays  Reason
	}{
		"all":                     {Rule{MaxRounds: 2}, letter, "orders", ""},
		"to another":              {Rule{MaxRounds: 2, To: "x"}, letter, "x", ""},
		"too often":               {Rule{MaxRounds: 1}, letter, "", TooOften},
		"unnamed":                 {Rule{MaxRounds: 2}, unnamed, "", Unnamed},
		"unnamed, to another":     {Rule{MaxRounds: 2, To: "x"}, unnamed, "x", ""},
		"from itself":             {Rule{MaxRounds: 2}, loop, "", Loop},
		"discarded, though often": {Rule{Discard: true}, loop, "", ""},
		"source":                  {Rule{MaxRounds: 2, Filter: Filter{Sources: []string{"a", "orders"}}}, letter, "orders", ""},
		"other source":            {Rule{MaxRounds: 2, Filter: Filter{Sources: []string{"a"}}}, letter, "", NotChosen},
		"error":                   {Rule{MaxRounds: 2, Filter: Filter{Error: "amount"}}, letter, "orders", ""},
		"code":                    {Rule{MaxRounds: 2, Filter: Filter{Error: "MESSAGE_TOO_LARGE"}}, letter, "orders", ""},
		"other error":             {Rule{MaxRounds: 2, Filter: Filter{Error: "MESSAGE"}}, letter, "", NotChosen},
		"key":                     {Rule{MaxRounds: 2, Filter: Filter{Key: []byte("k")}}, letter, "orders", ""},
		"no key is no empty key":  {Rule{MaxRounds: 2, Filter: Filter{Key: []byte{}}}, keyless, "", NotChosen},
		"since":                   {Rule{MaxRounds: 2, Filter: Filter{Since: at}}, letter, "orders", ""},
		"since later":             {Rule{MaxRounds: 2, Filter: Filter{Since: at.Add(1)}}, letter, "", NotChosen},
		"until":                   {Rule{MaxRounds: 2, Filter: Filter{Until: at.Add(1)}}, letter, "orders", ""},
		"until is excluded":       {Rule{MaxRounds: 2, Filter: Filter{Until: at}}, letter, "", NotChosen},
		"offset":                  {Rule{MaxRounds: 2, Filter: Filter{Offsets: map[int32]map[int64]bool{2: {7: true}}}}, letter, "orders", ""},
		"of another partition":    {Rule{MaxRounds: 2, Filter: Filter{Offsets: map[int32]map[int64]bool{3: {7: true}}}}, letter, "", NotChosen},
	} {
		c.rule.Topic = "dead"
		if to, stays := c.rule.Decide(&c.letter); to != c.to || stays != c.stays {
			t.Errorf("%s: to %q, stays %q; want %q, %q", name, to, stays, c.to, c.stays)
		}
	}
}

// Key, value and headers go back as they are, with one source header and a count.
func TestBack(t *testing.T) {
	l := Of(&kgo.Record{Key: []byte("k"), Headers: headers("trace", "1", pipeline.HeaderSource, "before/0/1/0", "trace", "2", pipeline.HeaderCount, "3", pipeline.HeaderSource, "orders/0/1/dl", HeaderRedriven, "1")})
	rec := l.Back("orders", []byte("dead/0/5/0/1/id/g"))
	want := headers("trace", "1", "trace", "2", pipeline.HeaderCount, "3", HeaderRedriven, "3", pipeline.HeaderSource, "dead/0/5/0/1/id/g")
	same := slices.EqualFunc(rec.Headers, want, func(a, b kgo.RecordHeader) bool { return a.Key == b.Key && string(a.Value) == string(b.Value) })
	if !same || rec.Topic != "orders" || string(rec.Key) != "k" || rec.Value != nil || !rec.Timestamp.IsZero() {
		t.Errorf("%+v", rec)
	}
}

// Errors that differ by numbers are one cause; there are not more causes than a bound.
func TestTally(t *testing.T) {
	var tally Tally
	add := func(l Letter) { tally.Add(&l) }
	for i := range 3 {
		add(Letter{Source: "a", Error: "order " + strings.Repeat("7", i+1) + " is bad\nat line 3", Rejected: time.Unix(int64(10-i), 0), Rounds: int64(i)})
	}
	add(Letter{Error: "x"})
	got := tally.Counts()
	if len(got) != 2 || got[0].Error != "order # is bad" || got[0].Count != 3 || got[0].Rounds != 2 || got[0].Oldest.Unix() != 8 || got[0].Newest.Unix() != 10 || tally.Unnamed != 1 {
		t.Errorf("%+v", got)
	}
	for i := range 2 * maxKinds {
		add(Letter{Source: "b", Error: strings.Repeat("y", i%maxErrors) + strings.Repeat("z", i/maxErrors)})
	}
	sum := int64(0)
	for _, c := range tally.Counts() {
		sum += c.Count
	}
	if n := len(tally.Counts()); n > maxKinds+1 || sum != tally.Letters {
		t.Errorf("%d causes, %d of %d letters", n, sum, tally.Letters)
	}
}
