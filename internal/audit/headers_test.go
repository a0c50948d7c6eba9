package audit

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestParseSource(t *testing.T) {
	id := strings.Repeat("A", 22)
	for text, want := range map[string]parsed{
		"in/0/0/0": parsedOK, "in/3/123456789012/15/" + id: parsedOK, "in/0/7/dl": parsedOK, "in/0/7/dl/" + id: parsedOK,
		"in/0/7/0/1//g": parsedOK, "in/0/7/1/2/" + id + "/team/g": parsedOK, "in/0/7/dl/1/" + id + "/g": parsedOK, "in/0/7/0/2147483647//g/": parsedOK,
		"in/0/7/0/1/": parsedMalformed, "in/0/7/0/1//": parsedMalformed, "in/0/7/1/1//g": parsedMalformed, "in/0/7/0/0//g": parsedMalformed, "in/0/7/0/1": parsedMalformed,
		"in/0/7/0/-1//g": parsedMalformed, "in/0/7/0//" + id + "/g": parsedMalformed, "in/0/7/0/2147483648//g": parsedMalformed, "in/0/7/0/1/x/g": parsedMalformed,
		"": parsedMalformed, "in": parsedMalformed, "in/0/0": parsedMalformed, "/0/0/0": parsedMalformed, "in//0/0": parsedMalformed,
		"in/0/0/": parsedMalformed, "in/-1/0/0": parsedMalformed, "in/0/-1/0": parsedMalformed, "in/0/0/-1": parsedMalformed, "in/+1/0/0": parsedMalformed,
		"in/2147483648/0/0": parsedMalformed, "in/0/9223372036854775808/0": parsedMalformed, "in/0/0/x": parsedMalformed, "in/0x1/0/0": parsedMalformed,
		"in/0/0/0/": parsedMalformed, "in/0/0/0/" + id[1:]: parsedMalformed, "in/0/0/0/" + id + "/": parsedMalformed, "in/0/0/0/" + id[1:] + "!": parsedMalformed,
	} {
		s, how := parseSource([]kgo.RecordHeader{{Key: "other", Value: []byte("x")}, {Key: HeaderSource, Value: []byte(text)}})
		if how != want {
			t.Errorf("%q: %v, want %v", text, how, want)
		}
		if how == parsedOK && s.topic != "in" {
			t.Errorf("%q: topic %q", text, s.topic)
		}
	}
	if _, how := parseSource([]kgo.RecordHeader{{Key: HeaderIncident, Value: []byte("x")}}); how != parsedNone {
		t.Errorf("without the header: %v", how)
	}
	s, how := parseSource([]kgo.RecordHeader{{Key: HeaderSource, Value: []byte("first/1/2/3")}, {Key: HeaderSource, Value: []byte("last/4/5/dl/" + id)}})
	if how != parsedOK || s.group != "" || s.count != 0 || s.topic != "last" || s.partition != 4 || s.offset != 5 || s.output != deadLetterOutput || len(s.topicID) != 16 {
		t.Errorf("%+v, %v", s, how)
	}
	s, how = parseSource([]kgo.RecordHeader{{Key: HeaderSource, Value: []byte("in/4/5/2/3/" + id + "/team/billing")}})
	if how != parsedOK || s.group != "team/billing" || s.count != 3 || s.output != 2 || len(s.topicID) != 16 {
		t.Errorf("%+v, %v", s, how)
	}
}
