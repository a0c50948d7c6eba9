package wire_test

import (
	"bytes"
	"errors"
	"runtime"
	"strings"
	"testing"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// numbers are the fields that need no bound when they are decoded, because their size is that of a
// number (or the message's), with what holds them where they are used.
var numbers = map[string]string{
	"Hello.version":     "compared",
	"Hello.last_report": "not used",
	"Assign.generation": "sent to Kafka as it is", "Assign.consumer": "a key", "Assign.more": "a flag", "Assign.protocol": "an enum that is looked up", "Inherit.request_id": "given back",
	"AssignedPartition.epoch": "a key", "AssignedPartition.partition": "compared; sent to Kafka as it is", "AssignedPartition.leader_epoch": "not used",
	"AssignedPartition.start_offset": "the tracker compares", "AssignedPartition.start_index": "compared", "AssignedPartition.resumed": "a flag",
	"Crossed.epoch": "a key", "Crossed.offset": "the tracker compares", "CreditTaken.number": "compared",
	"DoneRun.index": "less than maxSpan above start_index, or left out", "DoneRun.offset": "the tracker compares", "DoneRun.count": "cut to maxSpan",
	"Range.first": "compared", "Range.count": "compared; the work grows with what is here",
	"Release.request_id": "given back", "Release.given_up": "a flag", "EmitRequest.wait": "an enum that is looked up",
	"Record.partition": "compared with the topic's partitions", "Record.timestamp_ms": "sent to Kafka as it is",
	"Record.key": "the message's size", "Record.value": "the message's size", "Header.key": "the message's size", "Header.value": "the message's size",
	"ReportsRequest.after_id": "compared with the ring", "SetRouteRequest.sidecar_percent": "compared with 100", "SetRouteRequest.fallback": "a flag",
	"SetRouteRequest.forget": "a flag",
	"StatusRequest.state":    "a choice",
}

// shown are numbers of ProcessState: podstate.Validate compares them, and they are shown as they
// are. Nothing is counted by them.
var shown = map[string]string{
	"ProcessState": "now_ms", "ProcessSummary": "lanes busy queued finished direct done dead_letters retries timeouts rejected redelivered",
	"PartitionState": "epoch start committed ack_mark handled fetched log_end read inherited done done_above pending pending_bytes parked lost more_runs",
	"Sentinels":      "commit_beyond closed_admitted order_inverted input_skipped", "OffsetRun": "first last", "OldestInput": "offset since_ms lane attempt behind next_ms", "WaitingPartition": "partition", "Latency": "count p50_us p95_us p99_us p999_us", "Incident": "time_ms partition count",
}

func init() {
	for message, fields := range shown {
		for field := range strings.FieldsSeq(fields) {
			numbers[message+"."+field] = "shown"
		}
	}
}

// requests are the messages that a client sends whole. Units are decoded in place, see
// TestUnitsOfAPeer.
var requests = []proto.Message{new(sidecarpb.DeliveryStreamRequest), new(sidecarpb.EmitRequest), new(sidecarpb.ReportsRequest), new(sidecarpb.StatusRequest), new(sidecarpb.SetRouteRequest),
	new(healthpb.HealthCheckRequest), new(healthpb.HealthListRequest)}

// Every field that a peer may send is decided: it has a bound in the table, or its number is held
// where it is used.
func TestEveryFieldOfAPeerIsDecided(t *testing.T) {
	for _, m := range requests {
		d := m.ProtoReflect().Descriptor()
		fields, ok := wire.Bounds[d.FullName()]
		if !ok {
			t.Errorf("%s has no bounds", d.FullName())
		}
		decided(t, d, fields)
	}
}

func decided(t *testing.T, d protoreflect.MessageDescriptor, bounds wire.Fields) {
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		name := string(d.Name()) + "." + string(f.Name())
		b, bound := bounds[f.Number()]
		switch {
		case name == "DeliveryStreamRequest.units":
		case !bound && numbers[name] == "" && (f.IsList() || f.Kind() == protoreflect.StringKind || f.Kind() == protoreflect.BytesKind || f.Message() != nil):
			t.Errorf("%s has no bound: add it to wire.Bounds", name)
		case !bound && numbers[name] == "":
			t.Errorf("%s is decided nowhere", name)
		case bound && b.Name != string(f.Name()):
			t.Errorf("%s is called %q in the table", name, b.Name)
		case bound && f.IsList() && b.Elements == 0:
			t.Errorf("%s is repeated, and may have any number of elements", name)
		case bound && f.Kind() == protoreflect.StringKind && b.Bytes == 0 && numbers[name] == "":
			t.Errorf("%s may have any length", name)
		case f.Message() != nil && b.Fields == nil:
			t.Errorf("%s: what is in it is not bounded", name)
		case f.Message() != nil:
			decided(t, f.Message(), b.Fields)
		}
	}
}

// walk calls fn with each bound of a message, and with how to wrap a field of its message into the
// whole.
func walk(d protoreflect.MessageDescriptor, bounds wire.Fields, wrap func([]byte) []byte, fn func(f protoreflect.FieldDescriptor, b wire.Bound, wrap func([]byte) []byte)) {
	for num, b := range bounds {
		f := d.Fields().ByNumber(num)
		fn(f, b, wrap)
		if b.Fields != nil {
			walk(f.Message(), b.Fields, func(body []byte) []byte {
				return wrap(protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), body))
			}, fn)
		}
	}
}

// At each bound a message passes, one above it is refused by the field's name before anything is
// allocated for it.
func TestBoundsOfAPeer(t *testing.T) {
	checked := 0
	for _, m := range requests {
		walk(m.ProtoReflect().Descriptor(), wire.Bounds[m.ProtoReflect().Descriptor().FullName()], func(b []byte) []byte { return b },
			func(f protoreflect.FieldDescriptor, b wire.Bound, wrap func([]byte) []byte) {
				if b.Bytes > 0 {
					checked++
					value := func(n int) []byte {
						return wrap(protowire.AppendString(protowire.AppendTag(nil, f.Number(), protowire.BytesType), strings.Repeat("x", n)))
					}
					refused(t, m, f, value(b.Bytes), value(b.Bytes+1))
				}
				if b.Elements > 0 {
					checked++
					element := protowire.AppendBytes(protowire.AppendTag(nil, f.Number(), protowire.BytesType), nil)
					many := func(n int) []byte {
						if b.Scalars {
							return wrap(protowire.AppendBytes(protowire.AppendTag(nil, f.Number(), protowire.BytesType), make([]byte, n)))
						}
						return wrap(bytes.Repeat(element, n))
					}
					refused(t, m, f, many(b.Elements), many(b.Elements+1))
				}
			})
	}
	if checked < 20 {
		t.Errorf("only %d bounds were checked", checked)
	}
	// Unpacked numbers count as well.
	one := protowire.AppendVarint(protowire.AppendTag(nil, 2, protowire.VarintType), 1)
	release := func(n int) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, 4, protowire.BytesType), bytes.Repeat(one, n))
	}
	epochs := (&sidecarpb.Release{}).ProtoReflect().Descriptor().Fields().ByNumber(2)
	refused(t, new(sidecarpb.DeliveryStreamRequest), epochs, release(wire.MaxReleased), release(wire.MaxReleased+1))
	// And those of all fields together: each partition may have MaxDoneRuns, not all of them.
	runs := bytes.Repeat([]byte{9<<3 | 2, 0}, wire.MaxDoneRuns)
	part := protowire.AppendBytes([]byte{5<<3 | 2}, runs)
	whole := func(n int) []byte { return protowire.AppendBytes([]byte{2<<3 | 2}, bytes.Repeat(part, n)) }
	done := (&sidecarpb.AssignedPartition{}).ProtoReflect().Descriptor().Fields().ByNumber(9)
	refused(t, new(sidecarpb.DeliveryStreamRequest), done, whole(wire.MaxElements/(wire.MaxDoneRuns+1)), whole(wire.MaxElements/wire.MaxDoneRuns+1))
}

func refused(t *testing.T, m proto.Message, f protoreflect.FieldDescriptor, good, bad []byte) {
	t.Helper()
	if err := wire.Decode(good, m.ProtoReflect().New().Interface()); err != nil {
		t.Errorf("%s at its bound: %v", f.FullName(), err)
	}
	into := m.ProtoReflect().New().Interface()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := wire.Decode(bad, into)
	runtime.ReadMemStats(&after)
	if !errors.Is(err, wire.ErrBound) || !strings.Contains(err.Error(), string(f.Name())) {
		t.Errorf("%s above its bound: %v", f.FullName(), err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 256<<10 {
		t.Errorf("%s above its bound: %d bytes were allocated to refuse it", f.FullName(), n)
	}
}

// The buffer of a message in pieces goes back to the pool, where the next message of any session
// overwrites it: nothing of what is decoded may stand in it, whichever piece is empty.
func TestPiecesDoNotAliasTheBuffer(t *testing.T) {
	unit := []byte{4<<3 | 2, 0}
	piece := func(units int) []byte {
		return protowire.AppendBytes([]byte{3<<3 | 2}, bytes.Repeat(unit, units))
	}
	for _, sizes := range [][]int{{2, 0}, {0, 2}, {2, 0, 0}, {0, 0, 2}, {1, 1}, {1, 0, 1}, {0, 0}} {
		var msg, want []byte
		for _, n := range sizes {
			msg, want = append(msg, piece(n)...), append(want, bytes.Repeat(unit, n)...)
		}
		m := receive(t, msg)
		body, hot, err := m.Request(new(sidecarpb.DeliveryStreamRequest))
		for i := range msg { // what the next message does
			msg[i] = 0xff
		}
		if err != nil || !hot || !bytes.Equal(body, want) {
			t.Errorf("pieces of %v units: %x once the buffer is used again, want %x (hot %v, %v)", sizes, body, want, hot, err)
		}
	}
}

// Unknown fields are not kept, and units beside them, or in pieces, are not decoded into objects a
// hundred times their size.
func TestUnitsOfAPeer(t *testing.T) {
	empty := bytes.Repeat([]byte{4<<3 | 2, 0}, 1<<20) // 2 MiB of units of two bytes
	units := protowire.AppendBytes([]byte{3<<3 | 2}, empty)
	unknown := protowire.AppendBytes(protowire.AppendTag(nil, 99, protowire.BytesType), make([]byte, 1<<20))
	hello := []byte{1<<3 | 2, 2, 1 << 3, 1}
	type unitsCase struct {
		msg  []byte
		most uint64 // allocated
		want int    // bytes of units
	}
	cases := map[string]unitsCase{
		"alone":                   {units, 64 << 10, len(empty)},
		"before an unknown field": {append(bytes.Clone(units), unknown...), 64 << 10, len(empty)},
		"behind an unknown field": {append(bytes.Clone(unknown), units...), 64 << 10, len(empty)},
		"behind another kind":     {append(bytes.Clone(hello), units...), 64 << 10, len(empty)},
		"in two pieces":           {append(bytes.Clone(units), units...), 16 << 20, 2 * len(empty)},
		"none, another kind last": {append(bytes.Clone(units), hello...), 64 << 10, -1},
	}
	kinds := (&sidecarpb.DeliveryStreamRequest{}).ProtoReflect().Descriptor().Fields()
	for i := range kinds.Len() { // protobuf takes the last one
		if f := kinds.Get(i); f.Name() != "units" {
			cases["none, last "+string(f.Name())] = unitsCase{protowire.AppendBytes(protowire.AppendTag(bytes.Clone(units), f.Number(), protowire.BytesType), nil), 64 << 10, -1}
		}
	}
	for name, x := range cases {
		m := receive(t, x.msg)
		var cold sidecarpb.DeliveryStreamRequest
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		body, hot, err := m.Request(&cold)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > x.most {
			t.Errorf("%s: %d bytes were allocated for a message of %d", name, n, len(x.msg))
		}
		switch {
		case x.want < 0 && (hot || !errors.Is(err, wire.ErrBound)): // it is larger than messages without units may be
			t.Errorf("%s: hot %v, %v", name, hot, err)
		case x.want >= 0 && (!hot || err != nil || len(body) != x.want):
			t.Errorf("%s: hot %v, %d bytes, want %d, %v", name, hot, len(body), x.want, err)
		}
	}
	var req sidecarpb.EmitRequest
	if err := wire.Decode(unknown, &req); err != nil || len(req.ProtoReflect().GetUnknown()) != 0 {
		t.Errorf("%d bytes of unknown fields are kept, %v", len(req.ProtoReflect().GetUnknown()), err)
	}
}
