package e2e

import (
	"bytes"
	"cmp"
	"context"
	"log"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/proof/netfault"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/sidecar"
)

// roleEnv makes the test binary an app instead of a test. The apps are the uppercase example with
// settings that it does not offer.
const roleEnv = "ACKMARK_E2E_ROLE"

const (
	// roleApp is the pipeline of the example with a session timeout of 6 s, so that a killed member
	// is replaced within a test's patience.
	roleApp = "app"
	// roleEarliest is the same, reading on from what is there when its offset is out of range.
	roleEarliest = "app-earliest"
	// roleSidecar is a sidecar whose connections to the brokers go through a proxy of the test.
	roleSidecar = "sidecar"
	// roleLoop is a plain loop over Messages that writes with a Kafka client of its own.
	roleLoop = "loop"
)

// Settings of the roles, beside those of the example.
const (
	envName       = "NAME"             // goes to the header by of each output
	envSession    = "SESSION"          // the session timeout
	envProtocol   = "PROTOCOL"         // of the group
	envCommit     = "COMMIT_EVERY"     // the commit interval
	envInstance   = "INSTANCE"         // makes a static member
	envSidecar    = "SIDECAR"          // its address, or "direct"
	envSidecarUID = "SIDECAR_UID"      // its user, if it is another one
	envSessionID  = "SESSION_ID"       // the id of the session with the sidecar
	envProxy      = "PROXY"            // for all connections to the brokers
	envTimes      = "HANDLER_TAKES"    // work for each input
	envStateDir   = "STATE_DIR"        // of the consumer
	envID         = "TRANSACTIONAL_ID" // makes it exactly-once, with SIDECAR=direct
	envTxnTimeout = "TRANSACTION_TIMEOUT"
	envMode       = "MODE"         // exactly-once, through the sidecar
	envPoison     = "POISON_EVERY" // so many inputs have an output that no topic takes
	envSlow       = "SLOW_EVERY"   // so many inputs take a second
	envEmit       = "EMIT"         // a record without an input beside each output
	envHold       = "HOLD"         // a file: while it is there, the handlers of the process, or of the input, that it names do not return
	envLanes      = "CONCURRENCY"  // handlers at once; "": 4
	envDrain      = "DRAIN_TIMEOUT"
	byHeader      = "by"             // names the process that made an output
	metadataAge   = 10 * time.Second // a proxy must not see many of these requests
)

const appSession = 6 * time.Second

// duration is a setting that is one.
func duration(name string, otherwise time.Duration) time.Duration {
	if d, err := time.ParseDuration(os.Getenv(name)); err == nil {
		return d
	}
	return otherwise
}

// play runs one of the apps until SIGTERM and returns the exit code.
func play(role string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	run := runApp
	switch role {
	case roleSidecar:
		run = runSidecar
	case roleEmitter:
		run = runEmitter
	case roleLoop:
		run = runLoop
	}
	if err := run(ctx, role); err != nil {
		log.Print(err)
		return 1
	}
	return 0
}

// sidecarUIDs is the sidecar's user where the app has another one.
func sidecarUIDs() []uint32 {
	uid, err := strconv.ParseUint(os.Getenv(envSidecarUID), 10, 32)
	if err != nil {
		return nil
	}
	return []uint32{uint32(uid)}
}

func kafkaOptions() (opts []kgo.Opt) {
	if proxy := os.Getenv(envProxy); proxy != "" {
		opts = append(opts, kgo.Dialer(refusedAs(netfault.Dial(proxy))), kgo.MetadataMaxAge(metadataAge))
	}
	return opts
}

// refusedAs has a broker that is down refuse connections, as it would without a proxy: that takes a
// connection, and breaks it.
func refusedAs(dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		direct, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if err := direct.Close(); err != nil {
			return nil, err
		}
		return dial(ctx, network, address)
	}
}

func runSidecar(ctx context.Context, _ string) error {
	s, err := sidecar.New(sidecar.Config{
		Brokers: strings.Split(os.Getenv("KAFKA_BROKERS"), ","), Options: kafkaOptions(), Listen: os.Getenv(envSidecar),
		TransactionalID: os.Getenv(envID), TransactionTimeout: duration(envTxnTimeout, 0), StateDir: os.Getenv(envStateDir),
	})
	if err != nil {
		return err
	}
	return s.Run(ctx)
}

func runApp(ctx context.Context, role string) error {
	brokers := strings.Split(os.Getenv("KAFKA_BROKERS"), ",")
	name, work := os.Getenv(envName), duration(envTimes, 0)
	var protocol consumer.Protocol
	if err := protocol.UnmarshalText([]byte(os.Getenv(envProtocol))); err != nil {
		return err
	}
	var emits producer.Producer
	cfg := pipeline.Config{
		Consumer: consumer.Config{
			Brokers: brokers, Group: os.Getenv("GROUP"), Topics: []string{os.Getenv("INPUT")}, Options: kafkaOptions(), InstanceID: os.Getenv(envInstance),
			SessionTimeout: duration(envSession, appSession), CommitEvery: duration(envCommit, 0), StateDir: os.Getenv(envStateDir), Protocol: protocol,
			DrainTimeout: duration(envDrain, 0),
		},
		Producer: producer.DialConfig{
			Target: os.Getenv(envSidecar), App: cmp.Or(name, role), SessionID: os.Getenv(envSessionID), SidecarUIDs: sidecarUIDs(),
		}.New(),
		SourceHeaders: true, Concurrency: lanes(),
		Handler: pipeline.HandlerFunc(func(ctx context.Context, in *consumer.Message) ([]producer.Record, error) {
			takes := work
			if isNth(in.Offset, envSlow) {
				takes = time.Second
			}
			if emits != nil {
				emits.EmitAsync(producer.Record{Topic: os.Getenv("OUTPUT"), Key: in.Key, Value: []byte("emitted")}, func(producer.Ack, error) {})
			}
			if holdBack(os.Getenv(envHold), name, in) {
				ctx = context.WithoutCancel(ctx)
			}
			select {
			case <-time.After(takes):
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
			by := []producer.Header{{Key: byHeader, Value: []byte(name)}}
			if string(in.Value) == silent {
				return nil, nil
			}
			if isNth(in.Offset, envPoison) {
				return []producer.Record{{Topic: os.Getenv("OUTPUT"), Key: in.Key, Value: make([]byte, 2<<20), Headers: by}}, nil
			}
			return []producer.Record{{Topic: os.Getenv("OUTPUT"), Key: in.Key, Value: bytes.ToUpper(in.Value), Headers: by}}, nil
		}),
	}
	if os.Getenv(envSidecar) == "direct" {
		id := os.Getenv(envID)
		direct := producer.DirectConfig{Brokers: brokers, TransactionalID: id, Options: kafkaOptions()}
		if id != "" {
			cfg.Mode, cfg.Consumer.CommitEvery, direct.TransactionTimeout = pipeline.ExactlyOnce, 0, duration(envTxnTimeout, 0)
			cfg.DeadLetter.Topic = os.Getenv("OUTPUT")
		}
		cfg.Producer = producer.Direct(direct)
	}
	if os.Getenv(envMode) != "" {
		if err := cfg.Mode.UnmarshalText([]byte(os.Getenv(envMode))); err != nil {
			return err
		}
		cfg.Consumer.CommitEvery, cfg.DeadLetter.Topic = 0, os.Getenv("OUTPUT")
	}
	if os.Getenv(envEmit) != "" {
		emits = cfg.Producer
	}
	if role == roleEarliest {
		cfg.Consumer.OnOutOfRange = consumer.ResetEarliest
	}
	return pipeline.Run(ctx, cfg)
}

// lanes is how many handlers run at once.
func lanes() int {
	n, err := strconv.Atoi(os.Getenv(envLanes))
	if err != nil {
		return 4
	}
	return n
}

const (
	inHand = "in hand: "
	silent = "silent" // an input without outputs
)

// holdBack returns when the file does not name this process or this input, and whether it did: the
// handler is slow, and does not hear that its input is given away.
func holdBack(file, name string, in *consumer.Message) bool {
	held := func() bool {
		text, err := os.ReadFile(file)
		return err == nil && len(text) > 0 && (string(text) == name || bytes.Equal(text, in.Value))
	}
	if file == "" || !held() {
		return false
	}
	log.Print(inHand, in.ID())
	for held() {
		<-time.After(10 * time.Millisecond)
	}
	return true
}

// isNth tells whether an offset is one of every so many, as a setting says.
func isNth(offset int64, setting string) bool {
	every, err := strconv.ParseInt(os.Getenv(setting), 10, 64)
	return err == nil && offset%every == every/2
}
