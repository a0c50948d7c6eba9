package childproc

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// orderEnd asks a child to end where there is no SIGTERM.
const orderEnd = "end"

// maxTask bounds a line of orders: a task has a list of brokers and Kafka properties.
const maxTask = 1 << 20

// Parent is the parent as its child sees it.
type Parent struct {
	orders *bufio.Scanner
	mu     sync.Mutex
	out    *json.Encoder
}

// Attach reads the task that [Spec.Task] gave to this process. command is who starts it, for people
// who run it by hand.
func Attach(stdin io.Reader, stdout io.Writer, task any, command string) (*Parent, error) {
	p := &Parent{orders: bufio.NewScanner(stdin), out: json.NewEncoder(stdout)}
	p.orders.Buffer(nil, maxTask)
	if !p.orders.Scan() {
		return nil, fmt.Errorf("this command is started by `%s`, which tells it what to do; run `%[1]s`", command)
	}
	if err := json.Unmarshal(p.orders.Bytes(), task); err != nil {
		return nil, fmt.Errorf("child of %s: %w", command, err)
	}
	return p, nil
}

// Obey hands on the parent's orders, each a line, while the parent lives, and ends this process
// when it is gone: nobody wants it any more then. The context ends when the parent asks the child
// to end.
func (p *Parent) Obey(ctx context.Context, order func(string)) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	go func() {
		for p.orders.Scan() {
			if text := p.orders.Text(); text == orderEnd {
				stop()
			} else {
				order(text)
			}
		}
		os.Exit(1)
	}()
	return ctx, stop
}

// Tell writes a line of JSON to the parent. One that does not read is dead, and Obey notices.
func (p *Parent) Tell(v any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.out.Encode(v)
}
