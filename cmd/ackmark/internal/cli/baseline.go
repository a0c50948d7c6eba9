package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/baseline"
	"github.com/ackmark/ackmark/cmd/ackmark/internal/settings"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// NewBaselineCommand returns `ackmark baseline`.
func NewBaselineCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "baseline", Short: "Measure what brokers and emits cost, before and after a change", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newBaselineRecordCommand(), newBaselineCompareCommand())
	return cmd
}

const baselineIntro = `Measures for a window: of each --broker its connections, produce requests, CPU, heap and garbage collection; of the
sidecars at --listen their connections, produce requests and records a request; and the latency of emits.

A broker is NAME=URL, the page of its JMX exporter (produce requests and connections with the exporter's example rules
for Kafka), or NAME=pid:N, a process on this machine: CPU and connections from /proc (Linux), heap and garbage
collection from jstat, if it is installed. Latency is that of emits which --probe makes, ten a second, of 100 bytes, to
a topic of its own: directly, or with --probe-by sidecar through the first --listen; or it is read from the apps'
metrics (--app-metrics), where they have messaging_client_operation_duration_seconds.

What could not be measured is shown as such, with the reason.`

// baselineFlags are what is written on the command line.
type baselineFlags struct {
	cluster           clusterFlags
	brokers           []string
	listen            []string
	appMetrics        []string
	probe, probeBy    string
	name, file, shape string
	window            time.Duration
}

func newBaselineRecordCommand() *cobra.Command {
	var f baselineFlags
	cmd := &cobra.Command{
		Use: "record", Short: "Measure, and write it into a file", Long: baselineIntro, Args: noArgs,
		Example: `  ackmark baseline record --file before.json --broker 1=http://kafka-1:7071/metrics --broker 2=http://kafka-2:7071/metrics \
    --brokers kafka-1:9092 --probe ackmark.probe
  ackmark baseline record --file after.json --broker 1=pid:4711 --listen unix:///run/ackmark/sidecar.sock --probe ackmark.probe --probe-by sidecar
  ackmark baseline compare before.json after.json`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	set := cmd.Flags()
	set.StringArrayVar(&f.brokers, "broker", nil, "a broker, NAME=http://host:port/metrics or NAME=pid:N; repeatable")
	set.StringArrayVar(&f.listen, "listen", nil, "a sidecar, unix:///path; repeatable")
	set.StringArrayVar(&f.appMetrics, "app-metrics", nil, "an app's metrics page, to read the latency of emits from; repeatable")
	set.StringVar(&f.probe, "probe", "", "topic to write probes to, for the latency of emits")
	set.StringVar(&f.probeBy, "probe-by", "direct", "which way probes go: direct (--brokers) or sidecar (the first --listen)")
	set.StringSliceVar(&f.cluster.brokers, "brokers", nil, "where direct probes go, host:port comma separated")
	set.StringArrayVar(&f.cluster.kafka, "kafka", nil, "Kafka client property of direct probes as name=value; repeatable")
	set.StringVar(&f.name, "name", "", "what it is called in a comparison (default: the time)")
	set.StringVar(&f.file, "file", "", "file to write it into, as JSON (required)")
	set.DurationVar(&f.window, "window", 30*time.Second, "how long to measure")
	set.StringVarP(&f.shape, "output", "o", "table", "what is printed besides: table or json")
	return cmd
}

func (f *baselineFlags) check() error {
	switch {
	case f.file == "":
		return errors.New("--file is missing; name the file that the record is written into")
	case f.window < time.Second || f.window > 24*time.Hour:
		return fmt.Errorf("--window is %s; it must be 1s to 24h", f.window)
	case f.probe != "" && len(f.appMetrics) > 0:
		return errors.New("--probe and --app-metrics are two ways to the same figure; name one")
	case f.probeBy != "direct" && f.probeBy != "sidecar":
		return fmt.Errorf("--probe-by is %q; write direct or sidecar", f.probeBy)
	case f.probe != "" && f.probeBy == "direct" && len(f.cluster.brokers) == 0:
		return errors.New("--probe needs --brokers, or --probe-by sidecar with --listen")
	case f.probe != "" && f.probeBy == "sidecar" && len(f.listen) == 0:
		return errors.New("--probe-by sidecar needs --listen")
	case len(f.brokers)+len(f.listen)+len(f.appMetrics) == 0 && f.probe == "":
		return errors.New("there is nothing to measure; name at least one --broker, --listen, --app-metrics or --probe")
	}
	for _, l := range f.listen {
		if err := settings.CheckListen(l); err != nil || !strings.HasPrefix(l, "unix://") {
			return fmt.Errorf("--listen is %q; write unix:///path", l)
		}
	}
	return oneOfWords("--output", f.shape, "table", "json")
}

func (f *baselineFlags) run(cmd *cobra.Command) error {
	if err := f.check(); err != nil {
		return usageError{err}
	}
	o := baseline.Options{Name: f.name, Window: f.window}
	for _, text := range f.brokers {
		b, err := brokerSource(text)
		if err != nil {
			return usageError{err}
		}
		o.Brokers = append(o.Brokers, b)
	}
	for _, l := range f.listen {
		o.Sidecars = append(o.Sidecars, askedSidecar{target{l, 10 * time.Second}})
	}
	if len(f.appMetrics) > 0 {
		o.Latency = baseline.Histogram{URLs: f.appMetrics}
	}
	if f.probe != "" {
		p, err := f.prober()
		if err != nil {
			return usageError{err}
		}
		defer func() { _ = p.Close() }()
		o.Latency = baseline.Probe{Producer: p, Topic: f.probe, By: f.probeBy, Every: 100 * time.Millisecond}
	}
	r, err := baseline.Take(cmd.Context(), o, machine())
	if err != nil {
		return orCut(cmd.Context(), err)
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	data = append(data, '\n')
	if err := os.WriteFile(f.file, data, 0o644); err != nil { //nolint:gosec // figures, for whoever compares them
		return fmt.Errorf("--file: %w", err)
	}
	if f.shape == "json" {
		_, err = cmd.OutOrStdout().Write(data)
		return err
	}
	return r.Print(cmd.OutOrStdout())
}

// machine says where it was measured: figures of two machines do not compare.
func machine() string {
	host, _ := os.Hostname()
	return fmt.Sprintf("%s, %d CPUs, %s/%s", host, runtime.NumCPU(), runtime.GOOS, runtime.GOARCH)
}

// brokerSource reads NAME=URL or NAME=pid:N.
func brokerSource(text string) (baseline.BrokerSource, error) {
	name, where, ok := strings.Cut(text, "=")
	if number, isPID := strings.CutPrefix(where, "pid:"); ok && name != "" && isPID {
		pid, err := strconv.Atoi(number)
		if err != nil || pid <= 0 {
			return nil, fmt.Errorf("--broker is %q; write the process's number, as in 1=pid:4711", text)
		}
		return baseline.Process{Broker: name, PID: pid, Root: "/proc"}, nil
	}
	u, err := url.Parse(where)
	if !ok || name == "" || err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("--broker is %q; write NAME=http://host:port/metrics or NAME=pid:N", text)
	}
	return baseline.Page{Broker: name, URL: where}, nil
}

// prober is the producer of the probes.
func (f *baselineFlags) prober() (producer.Producer, error) {
	quiet := slog.New(slog.DiscardHandler)
	if f.probeBy == "sidecar" {
		return producer.DialConfig{Target: f.listen[0], App: "ackmark-baseline", Logger: quiet}.New(), nil
	}
	if err := f.cluster.check(); err != nil {
		return nil, err
	}
	opts, err := f.cluster.options("ackmark-baseline")
	if err != nil {
		return nil, err
	}
	p := producer.Direct(producer.DirectConfig{Options: opts, Logger: quiet})
	return p, p.(producer.Validator).Validate() //nolint:forcetypeassert // every direct producer is one
}

// askedSidecar is a sidecar that is asked for its Status.
type askedSidecar struct{ target }

// Counts implements baseline.SidecarSource.
func (s askedSidecar) Counts(ctx context.Context) (c baseline.Counts, err error) {
	err = s.ask(ctx, func(ctx context.Context, conn *grpc.ClientConn) error {
		st, err := sidecarpb.NewSidecarClient(conn).Status(ctx, &sidecarpb.StatusRequest{}, grpc.MaxCallRecvMsgSize(maxPod))
		c = baseline.Counts{ID: st.GetSidecarId(), Connections: uint64(st.GetBrokerConnections()), Produce: st.GetProduceRequests(), Records: st.GetRecordsAcked()}
		return err
	})
	return c, err
}

func newBaselineCompareCommand() *cobra.Command {
	var shape string
	cmd := &cobra.Command{
		Use: "compare BEFORE AFTER", Short: "Print two records side by side", Args: namedArgs(2),
		Example: "  ackmark baseline compare before.json after.json\n  ackmark baseline compare before.json after.json -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOfWords("--output", shape, "table", "json"); err != nil {
				return usageError{err}
			}
			before, err := readBaseline(args[0])
			if err != nil {
				return usageError{err}
			}
			after, err := readBaseline(args[1])
			if err != nil {
				return usageError{err}
			}
			c := baseline.Compare(before, after)
			if shape == "table" {
				return c.Print(cmd.OutOrStdout())
			}
			enc := json.NewEncoder(cmd.OutOrStdout())
			enc.SetIndent("", "  ")
			return enc.Encode(c)
		},
	}
	cmd.Flags().StringVarP(&shape, "output", "o", "table", "table or json")
	return cmd
}

// maxBaseline bounds a record's file: one of a thousand brokers has a MiB.
const maxBaseline = 16 << 20

func readBaseline(path string) (*baseline.Record, error) {
	file, err := os.Open(path) //nolint:gosec // named by who runs the command
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxBaseline))
	if err != nil {
		return nil, err
	}
	r, err := baseline.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s %w", path, err)
	}
	return r, nil
}
