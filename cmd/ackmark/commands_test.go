package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/ackmark/ackmark/internal/devbroker"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// startBroker is the script command `broker [topic…]`: an embedded broker until the script ends,
// its addresses in $BROKERS.
func startBroker(ts *testscript.TestScript, neg bool, topics []string) {
	if neg {
		ts.Fatalf("broker cannot be negated")
	}
	cfg := devbroker.Config{Topics: map[string]int{}, Logger: slog.New(slog.DiscardHandler)}
	for _, topic := range topics {
		cfg.Topics[topic] = 0
	}
	b, err := devbroker.Start(cfg)
	ts.Check(err)
	ts.Defer(b.Close)
	processesOf(ts).broker = b
	ts.Setenv("BROKERS", strings.Join(b.Addrs(), ","))
}

// stopBroker is the script command `stopbroker`.
func stopBroker(ts *testscript.TestScript, _ bool, _ []string) { processesOf(ts).broker.Close() }

// eventually is the script command `eventually [-stdout TEXT] ackmark ARG…`: run it until it
// succeeds (negated: fails), at most for 20 s.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	want := ""
	if len(args) > 2 && args[0] == "-stdout" {
		want, args = args[1], args[2:]
	}
	deadline := time.After(20 * time.Second)
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		out, err := runHere(ts, args)
		if (err != nil) == neg && strings.Contains(out, want) {
			return
		}
		select {
		case <-deadline:
			ts.Fatalf("%s: %v after 20 s, output %q", strings.Join(args, " "), err, out)
		case <-again.C:
		}
	}
}

func runHere(ts *testscript.TestScript, args []string) (string, error) {
	path, err := exec.LookPath(args[0])
	if err != nil {
		path = args[0]
	}
	cmd := exec.Command(path, args[1:]...)
	cmd.Env = []string{"PATH=" + ts.Getenv("PATH"), "HOME=" + ts.Getenv("HOME")}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// checkJSON is the script command `json FILE PATH OP VALUE`, with OP one of == >= <= and PATH as in
// ackmark.lost.
func checkJSON(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 4 {
		ts.Fatalf("usage: json file path op value")
	}
	var doc any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &doc))
	for part := range strings.SplitSeq(args[1], ".") {
		m, ok := doc.(map[string]any)
		if !ok || m[part] == nil {
			ts.Fatalf("%s has no %s", args[0], args[1])
		}
		doc = m[part]
	}
	got, isNumber := doc.(float64)
	want, err := strconv.ParseFloat(args[3], 64)
	ts.Check(err)
	holds := map[string]bool{"==": got == want, ">=": got >= want, "<=": got <= want}[args[2]]
	if !isNumber || holds == neg {
		ts.Fatalf("%s", fmt.Sprintf("%s is %v: %s %v does not hold", args[1], doc, args[2], want))
	}
}

// emit is the script command `emit [-acked] SOCKET TOPIC VALUE`: queue one record and do not wait
// for its delivery, or do.
func emit(ts *testscript.TestScript, neg bool, args []string) {
	wait := sidecarpb.Wait_WAIT_QUEUED
	if len(args) == 4 && args[0] == "-acked" {
		wait, args = sidecarpb.Wait_WAIT_ACKED, args[1:]
	}
	if len(args) != 3 {
		ts.Fatalf("usage: emit [-acked] socket topic value")
	}
	conn, err := grpc.NewClient("unix://"+args[0], grpc.WithTransportCredentials(insecure.NewCredentials()))
	ts.Check(err)
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	resp, err := sidecarpb.NewSidecarClient(conn).Emit(ctx, &sidecarpb.EmitRequest{
		Record: &sidecarpb.Record{Topic: args[1], Value: []byte(args[2])}, Wait: wait, App: "script",
	})
	ts.Check(err)
	if resp.GetSuccess() == neg {
		ts.Fatalf("emit: %v", resp)
	}
}
