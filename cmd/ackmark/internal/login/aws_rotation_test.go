package login

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// msk plays MSK: a broker that takes every signature, and notes with which keys it was made.
type msk struct {
	*testing.T
	kafka *kfake.Cluster
	mu    sync.Mutex
	keys  []string
}

func startMSK(t *testing.T) *msk {
	t.Helper()
	kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "out"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(kafka.Close)
	m := &msk{T: t, kafka: kafka}
	kafka.ControlKey(kmsg.NewPtrSASLHandshakeRequest().Key(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		kafka.KeepControl()
		return req.ResponseKind(), nil, true
	})
	kafka.ControlKey(kmsg.NewPtrSASLAuthenticateRequest().Key(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		kafka.KeepControl()
		return m.authenticate(req), nil, true
	})
	return m
}

func (m *msk) authenticate(req kmsg.Request) kmsg.Response {
	var said map[string]string
	auth, isAuth := req.(*kmsg.SASLAuthenticateRequest)
	if !isAuth || json.Unmarshal(auth.SASLAuthBytes, &said) != nil {
		m.Errorf("%T", req)
	}
	key, _, _ := strings.Cut(said["x-amz-credential"], "/")
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.Contains(m.keys, key) {
		m.keys = append(m.keys, key)
	}
	resp := kmsg.NewPtrSASLAuthenticateResponse()
	resp.Version, resp.SASLAuthBytes, resp.SessionLifetimeMillis = req.GetVersion(), []byte("{}"), 2000
	return resp
}

func (m *msk) rotations() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.keys) - 1
}

// client is one with a mechanism.
func (m *msk) client(mechanism Mechanism, opts ...kgo.Opt) *kgo.Client {
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(m.kafka.ListenAddrs()...), kgo.SASL(mechanism), kgo.DefaultProduceTopic("out"))...)
	if err != nil {
		m.Fatal(err)
	}
	m.Cleanup(cl.Close)
	return cl
}

// holds reads n records and what comes after them; they must be 0 to n-1, each once.
func (m *msk) holds(n int, mechanism Mechanism) {
	cl := m.client(mechanism, kgo.ConsumeTopics("out"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	seen, repeated := map[int]bool{}, 0
	read := func(ctx context.Context) bool {
		fetches := cl.PollFetches(ctx)
		fetches.EachRecord(func(r *kgo.Record) {
			i, err := strconv.Atoi(string(r.Value))
			if err != nil || i < 0 || i >= n {
				m.Errorf("%q", r.Value)
			}
			if seen[i] {
				repeated++
			}
			seen[i] = true
		})
		return fetches.NumRecords() > 0
	}
	ctx, cancel := context.WithTimeout(m.Context(), time.Minute)
	defer cancel()
	for len(seen) < n && ctx.Err() == nil {
		read(ctx)
	}
	rest, cancelRest := context.WithTimeout(m.Context(), 300*time.Millisecond)
	defer cancelRest()
	for read(rest) {
	}
	if len(seen) != n || repeated != 0 {
		m.Errorf("%d of %d records came out, %d were repeated", len(seen), n, repeated)
	}
}

// Keys of five seconds, of STS and of a container's endpoint, on sessions of two: the client signs
// with new ones three times while it produces, on the connections that it has and, after each
// rotation, on new ones. Nothing is lost, and nothing repeated.
func TestAWSKeysRotateUnderLoad(t *testing.T) {
	// kgo takes the region from the environment where the broker's name does not tell it.
	t.Setenv("AWS_REGION", "eu-central-1")
	for way, answer := range map[string]struct {
		keys func(id string, until time.Time) string
		env  func(endpoint string) map[string]string
	}{
		"web identity": {stsAnswer, func(endpoint string) map[string]string {
			return map[string]string{"AWS_ROLE_ARN": "arn", "AWS_WEB_IDENTITY_TOKEN_FILE": file(t, "web"), "AWS_ENDPOINT_URL_STS": endpoint, "AWS_REGION": "eu-central-1"}
		}},
		"container": {containerAnswer, func(endpoint string) map[string]string {
			return map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": endpoint, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": file(t, "pod-auth"), "AWS_REGION": "eu-central-1"}
		}},
	} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			var issued atomic.Int64
			endpoint := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprint(w, answer.keys(fmt.Sprintf("ASIA%d", issued.Add(1)), time.Now().Add(5*time.Second)))
			})
			env := answer.env(endpoint.String())
			mechanism, err := NewAWS(func(name string) string { return env[name] })
			if err != nil {
				t.Fatal(err)
			}
			mechanism.LogTo(slog.New(slog.DiscardHandler))
			m, l := startMSK(t), new(Logins)
			cl := m.client(mechanism, kgo.WithHooks(l))
			m.holds(produceUntil(t, cl, 3, m.rotations, l), mechanism)
		})
	}
}

// produceUntil produces until there were so many rotations; after each of them all connections are
// broken. It tells how many records were written.
func produceUntil(t *testing.T, cl *kgo.Client, enough int, rotations func() int, l *Logins) (n int) {
	t.Helper()
	pace := time.NewTicker(5 * time.Millisecond)
	defer pace.Stop()
	limit, broken, again := time.Now().Add(time.Minute), 0, int64(0)
	for ; broken < enough; <-pace.C {
		cl.Produce(t.Context(), kgo.StringRecord(strconv.Itoa(n)), func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
		n++
		if rotations() > broken && l.Again() > again {
			broken, again = broken+1, l.Again()
			l.Break()
		}
		if time.Now().After(limit) {
			t.Fatalf("%d rotations within a minute, %d authentications on connections that were there", rotations(), l.Again())
		}
	}
	if err := cl.Flush(t.Context()); err != nil {
		t.Error(err)
	}
	return n
}
