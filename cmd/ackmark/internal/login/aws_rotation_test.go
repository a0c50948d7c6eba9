package login

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Keys of five seconds on sessions of two: the client signs with new ones on the connections that
// it has, while it produces, and nothing fails. MSK is played by a broker that takes every
// signature.
func TestAWSKeysRotateUnderLoad(t *testing.T) {
	var issued atomic.Int64
	endpoint := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, stsAnswer(fmt.Sprintf("ASIA%d", issued.Add(1)), time.Now().Add(5*time.Second)))
	})
	m, err := NewAWS(func(name string) string {
		return map[string]string{
			"AWS_ROLE_ARN": "arn", "AWS_WEB_IDENTITY_TOKEN_FILE": file(t, "web"), "AWS_ENDPOINT_URL_STS": endpoint.String(), "AWS_REGION": "eu-central-1",
		}[name]
	})
	if err != nil {
		t.Fatal(err)
	}
	m.LogTo(slog.New(slog.DiscardHandler))
	// kgo takes the region from the environment where the broker's name does not tell it.
	t.Setenv("AWS_REGION", "eu-central-1")
	kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer kafka.Close()
	var mu sync.Mutex
	var seen []string
	kafka.ControlKey(kmsg.NewPtrSASLHandshakeRequest().Key(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		kafka.KeepControl()
		return req.ResponseKind(), nil, true
	})
	kafka.ControlKey(kmsg.NewPtrSASLAuthenticateRequest().Key(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		kafka.KeepControl()
		var said map[string]string
		auth, isAuth := req.(*kmsg.SASLAuthenticateRequest)
		if !isAuth || json.Unmarshal(auth.SASLAuthBytes, &said) != nil {
			t.Errorf("%T", req)
		}
		key, _, _ := strings.Cut(said["x-amz-credential"], "/")
		mu.Lock()
		defer mu.Unlock()
		if !slices.Contains(seen, key) {
			seen = append(seen, key)
		}
		resp := kmsg.NewPtrSASLAuthenticateResponse()
		resp.Version, resp.SASLAuthBytes, resp.SessionLifetimeMillis = req.GetVersion(), []byte("{}"), 2000
		return resp, nil, true
	})
	l := new(Logins)
	cl, err := kgo.NewClient(kgo.SeedBrokers(kafka.ListenAddrs()...), kgo.SASL(m), kgo.DefaultProduceTopic("out"), kgo.WithHooks(l))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	pace := time.NewTicker(5 * time.Millisecond)
	defer pace.Stop()
	rotations := func() int { mu.Lock(); defer mu.Unlock(); return len(seen) - 1 }
	for limit := time.Now().Add(time.Minute); rotations() < 2; <-pace.C {
		cl.Produce(t.Context(), kgo.StringRecord("x"), func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
		if time.Now().After(limit) {
			t.Fatalf("keys %v within a minute", seen)
		}
	}
	if err := cl.Flush(t.Context()); err != nil {
		t.Error(err)
	}
	if again := l.Authentications.Load() - l.Connects.Load(); again < 2 {
		t.Errorf("%d authentications on connections that were there", again)
	}
}
