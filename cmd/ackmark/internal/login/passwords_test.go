package login_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/login"
	"github.com/ackmark/ackmark/cmd/ackmark/internal/settings"
	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/proof/kafkatest"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/sidecar"
)

// passwords is a pod whose clients log in by name and password.
type passwords struct {
	*pod
	mechanism string
	scram     kadm.ScramMechanism // 0: PLAIN
	file      string
	before    map[string]int64 // authentications again
}

// set puts a password in force: at the broker, and in the file that the clients read.
func (p *passwords) set(password string) {
	if p.scram == 0 {
		password = "s3cret" // the broker has it in its file
	} else {
		done, err := p.kafka.Admin().AlterUserSCRAMs(p.Context(), nil, []kadm.UpsertSCRAM{{User: "user", Mechanism: p.scram, Iterations: 4096, Password: password}})
		if err == nil {
			err = done.Error()
		}
		if err != nil {
			p.Fatal(err)
		}
	}
	put(p.T, p.dir, filepath.Base(p.file), []byte(password+"\n"))
}

func (p *passwords) options(id string) []kgo.Opt {
	opts, err := settings.KafkaOptions(map[string]string{
		"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": p.mechanism, "sasl.username": "user", "sasl.password": "file:" + p.file,
	})
	if err != nil {
		p.Fatal(err)
	}
	p.logins[id] = new(login.Logins)
	return append(opts, kgo.WithHooks(p.logins[id]))
}

// again tells whether each client has authenticated again, on a connection that it had, since it
// was last asked and said so.
func (p *passwords) again() bool {
	messages := int64(1)
	if p.scram != 0 {
		messages = 2
	}
	now := map[string]int64{}
	for id, l := range p.logins {
		now[id] = l.Authentications.Load()/messages - l.Connects.Load()
		if now[id] <= p.before[id] {
			return false
		}
	}
	p.before = now
	return true
}

// rotate waits until everybody has authenticated again so often, with another password each time
// where the broker can be given one.
func (p *passwords) rotate() {
	for n := range rotations {
		kafkatest.Eventually(p.T, time.Minute, "everybody to authenticate again", func() error {
			if !p.again() {
				return fmt.Errorf("after %d rotations", n)
			}
			return nil
		})
		p.set(fmt.Sprint("s3cret ", n+1))
	}
}

// Sessions of four seconds: who logs in with a password authenticates again on its connections
// while it works, with the password that its file says by then, and nothing is lost or repeated.
func TestPasswordsRotateUnderLoad(t *testing.T) {
	const at = "listener.name.secured."
	properties := map[string]string{
		at + "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
		at + "plain.sasl.jaas.config":  `org.apache.kafka.common.security.plain.PlainLoginModule required user_user="s3cret";`,
	}
	mechanisms := map[string]kadm.ScramMechanism{"PLAIN": 0, "SCRAM-SHA-256": kadm.ScramSha256, "SCRAM-SHA-512": kadm.ScramSha512}
	for mechanism, scram := range mechanisms {
		of := at + strings.ToLower(mechanism) + "."
		properties[of+"connections.max.reauth.ms"] = strconv.FormatInt(sessionLife.Milliseconds(), 10)
		if scram != 0 {
			properties[of+"sasl.jaas.config"] = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
		}
	}
	kafka := kafkatest.Start(t, kafkatest.Config{Secured: "SASL_PLAINTEXT", Properties: properties})
	for mechanism, scram := range mechanisms {
		t.Run(mechanism, func(t *testing.T) {
			t.Parallel()
			dir, err := os.MkdirTemp("", "ackmark-creds-*") // t.TempDir is too long a path for a socket
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			p := &passwords{pod: &pod{T: t, kafka: kafka, dir: dir, logins: map[string]*login.Logins{}}, mechanism: mechanism, scram: scram, file: filepath.Join(dir, "password"), before: map[string]int64{}}
			p.in, p.out = kafka.CreateTopic("in", 4, nil), kafka.CreateTopic("out", 4, nil)
			p.set("s3cret")
			quiet, socket := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})), "unix://"+filepath.Join(dir, "s.sock")
			s, err := sidecar.New(sidecar.Config{Brokers: kafka.SecuredAddrs(), Options: p.options("sidecar"), Listen: socket, Logger: quiet})
			if err != nil {
				t.Fatal(err)
			}
			endSidecar, ofApp := p.run("sidecar", s.Run), p.options("app")
			endApp := p.run("pipeline", func(ctx context.Context) error {
				return pipeline.Run(ctx, pipeline.Config{
					Consumer: consumer.Config{Brokers: kafka.SecuredAddrs(), Group: kafka.Name("creds"), Topics: []string{p.in}, Options: ofApp, Logger: quiet},
					Producer: producer.DialConfig{Target: socket, Logger: quiet}.New(),
					Handler: pipeline.HandlerFunc(func(_ context.Context, m *consumer.Message) ([]producer.Record, error) {
						return []producer.Record{{Topic: p.out, Key: m.Key, Value: m.Value}}, nil
					}),
				})
			})
			cl, err := kgo.NewClient(append(p.options("generator"), kgo.SeedBrokers(kafka.SecuredAddrs()...))...)
			if err != nil {
				t.Fatal(err)
			}
			defer cl.Close()
			end := p.load(cl)
			p.rotate()
			p.outputs(end())
			endApp()
			endSidecar()
		})
	}
}
