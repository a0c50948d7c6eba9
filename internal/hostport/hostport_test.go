package hostport

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestFirstBad(t *testing.T) {
	for _, a := range []string{"a:9092", "a", "10.0.0.1:1", "[::1]:9092", "[::1]", "::1", "kafka-0.kafka.svc.cluster.local:65535"} {
		if bad, is := FirstBad([]string{a}); is {
			t.Errorf("%q is refused", bad)
		}
		// What we let through, the client can parse.
		cl, err := kgo.NewClient(kgo.SeedBrokers(a))
		if err != nil {
			t.Errorf("%q: %v", a, err)
			continue
		}
		cl.Close()
	}
	for _, a := range []string{"", " ", ":", ":9092", "a:", "a:x", "a:65536", "a:-1", "kafka://a:1", "a:1,b:1", " a:1", "a:1;b:1", "[::1", "[x]", "a:1:2"} {
		if bad, is := FirstBad([]string{"fine:1", a, "worse:x"}); !is || bad != a {
			t.Errorf("%q is taken (%q, %v)", a, bad, is)
		}
	}
	if _, is := FirstBad(nil); is {
		t.Error("no address is no bad address: its absence has an error of its own")
	}
}
