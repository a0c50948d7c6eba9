package wire

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/ackmark/ackmark/internal/podstate"
)

// What a peer may say. These are the bounds of the contract (sidecar.proto repeats each beside its
// field); what is not among them is a number that is compared where it is used and never looped
// over or allocated, see numbers.
const (
	MaxAppName     = 128
	MaxSessionID   = 64
	MaxToken       = 4096
	MaxFeatures    = 64
	MaxUnreported  = 64 << 10       // ranges of Hello.unreported
	MaxMemberName  = 1024           // bytes of a group, a member id, an instance id
	MaxPartitions  = 16 << 10       // of one Assign
	MaxDoneRuns    = 4096           // of one partition
	MaxDoneSet     = 4096           // characters: what a broker takes as commit metadata
	MaxReleased    = 16 << 10       // epochs of one Release
	MaxEmitHeaders = MaxUnitHeaders // of the record of one Emit
	// Of one ProcessState, see package podstate.
	MaxToldPartitions = 1024
	// MaxColdBytes bounds every message of the stream but Units.
	MaxColdBytes = 2 << 20
	// MaxElements bounds the elements of all repeated fields in one message that is decoded into Go
	// objects: one of two bytes takes about 80.
	MaxElements = 128 << 10

	maxWord      = 16   // of a state, a stage, a kind
	maxShortText = 256  // of a version, of a cluster id
	maxTopicText = 1024 // more than Kafka takes: the name itself is judged where it is used
	maxTopicID   = 16
)

// Fields is what a message may hold: by field number, what bounds it.
type Fields map[protowire.Number]Bound

// Bound is the bound of one field.
type Bound struct {
	// Name as in the contract.
	Name string
	// Elements is the most of a repeated field.
	Elements int
	// Bytes is the longest value: of a string or of bytes, also of each element. 0: the message's
	// own limit holds.
	Bytes int
	// Scalars: the elements are numbers.
	Scalars bool
	// Fields of an embedded message.
	Fields Fields
}

var (
	doneRun  = Fields{}
	assigned = Fields{2: {Name: "topic", Bytes: maxTopicText}, 3: {Name: "topic_id", Bytes: maxTopicID}, 7: {Name: "done_set", Bytes: MaxDoneSet},
		9: {Name: "done", Elements: MaxDoneRuns, Fields: doneRun}}
	hello = Fields{
		2: {Name: "features", Elements: MaxFeatures, Bytes: MaxSessionID}, 3: {Name: "app", Bytes: MaxAppName}, 4: {Name: "session_id", Bytes: MaxSessionID},
		6: {Name: "token", Bytes: MaxToken}, 7: {Name: "client_version", Bytes: maxShortText},
		8: {Name: "unreported", Elements: MaxUnreported, Fields: Fields{}}, 9: {Name: "previous_sidecar_id", Bytes: MaxSessionID},
		10: {Name: "client_id", Bytes: MaxSessionID},
	}
	assign = Fields{
		1: {Name: "group", Bytes: MaxMemberName}, 2: {Name: "member_id", Bytes: MaxMemberName}, 4: {Name: "instance_id", Bytes: MaxMemberName},
		5: {Name: "partitions", Elements: MaxPartitions, Fields: assigned}, 6: {Name: "cluster_id", Bytes: maxShortText},
	}
	partitionState = Fields{
		2: {Name: "state", Bytes: maxWord}, 3: {Name: "reason", Bytes: podstate.MaxText}, 18: {Name: "done_runs", Elements: podstate.MaxRuns, Fields: Fields{}},
		20: {Name: "oldest", Fields: Fields{
			3: {Name: "key_hash", Bytes: maxWord}, 4: {Name: "stage", Bytes: maxWord}, 8: {Name: "error", Bytes: podstate.MaxText}, 9: {Name: "next", Bytes: podstate.MaxText},
		}},
	}
	processState = Fields{
		2: {Name: "process", Fields: Fields{6: {Name: "problem", Bytes: podstate.MaxText}, 13: {Name: "sentinels", Fields: Fields{}}, 14: {Name: "latency", Fields: Fields{}}}},
		3: {Name: "partitions", Elements: MaxToldPartitions, Fields: partitionState},
		4: {Name: "waiting", Elements: podstate.MaxWaiting, Fields: Fields{
			1: {Name: "topic", Bytes: podstate.MaxTopic}, 3: {Name: "reason", Bytes: podstate.MaxText}, 4: {Name: "group", Bytes: MaxMemberName},
		}},
		5: {Name: "incidents", Elements: podstate.MaxIncidents, Fields: Fields{
			2: {Name: "kind", Bytes: maxWord}, 3: {Name: "topic", Bytes: podstate.MaxTopic}, 6: {Name: "reason", Bytes: podstate.MaxText},
			7: {Name: "app", Bytes: MaxAppName}, 8: {Name: "session_id", Bytes: MaxSessionID},
		}},
	}
	record = Fields{
		1: {Name: "topic", Bytes: maxTopicText}, 3: {Name: "key"}, 4: {Name: "value"},
		5: {Name: "headers", Elements: MaxEmitHeaders, Fields: Fields{1: {Name: "key"}, 2: {Name: "value"}}},
	}
)

// MaxTopicsChecked is how many topics a sidecar looks at for one StatusRequest.
const MaxTopicsChecked = 8

// maxCheckTopics is more than a sidecar looks at: a client that asks about more than those is not
// refused for it.
const maxCheckTopics = 1024

// Bounds are those of every message that a client sends, by its full name. Units are not among
// them: they are decoded in place, see [Units].
var Bounds = map[protoreflect.FullName]Fields{
	"ackmark.sidecar.v1.DeliveryStreamRequest": {
		1: {Name: "hello", Fields: hello}, 2: {Name: "assign", Fields: assign},
		4: {Name: "release", Fields: Fields{2: {Name: "epochs", Elements: MaxReleased, Scalars: true}}}, 5: {Name: "goodbye", Fields: Fields{}},
		6: {Name: "inherit", Fields: Fields{2: {Name: "group", Bytes: MaxMemberName}, 3: {Name: "instance_id", Bytes: MaxMemberName}}},
		7: {Name: "state", Fields: processState}, 8: {Name: "crossed", Fields: Fields{}}, 9: {Name: "credit_taken", Fields: Fields{}},
	},
	"ackmark.sidecar.v1.EmitRequest":     {1: {Name: "record", Fields: record}, 3: {Name: "app", Bytes: MaxAppName}, 4: {Name: "token", Bytes: MaxToken}},
	"ackmark.sidecar.v1.ReportsRequest":  {1: {Name: "app", Bytes: MaxAppName}, 3: {Name: "token", Bytes: MaxToken}},
	"ackmark.sidecar.v1.StatusRequest":   {1: {Name: "check_topics", Bytes: maxTopicText, Elements: maxCheckTopics}, 2: {Name: "app", Bytes: MaxAppName}, 3: {Name: "token", Bytes: MaxToken}},
	"ackmark.sidecar.v1.SetRouteRequest": {1: {Name: "app", Bytes: MaxAppName}, 2: {Name: "topic", Bytes: maxTopicText}},
	"grpc.health.v1.HealthCheckRequest":  {1: {Name: "service", Bytes: maxTopicText}},
	"grpc.health.v1.HealthListRequest":   {},
}

// ErrBound is a message that goes beyond a bound of the contract.
var ErrBound = errors.New("beyond the contract")

// Decode decodes what a client sent, after it was compared with the bounds of the contract: what is
// refused has allocated nothing. Unknown fields are passed over and not kept.
func Decode(b []byte, m proto.Message) error {
	name := m.ProtoReflect().Descriptor().FullName()
	if fields, ok := Bounds[name]; ok {
		left := MaxElements
		if err := fields.check(b, string(name.Name()), &left); err != nil {
			return err
		}
	}
	if err := discard.Unmarshal(b, m); err != nil {
		return fmt.Errorf("wire: not a %s: %w", name.Name(), err)
	}
	return nil
}

// check walks over an encoded message. Left is how many elements the whole message may still have.
func (f Fields) check(b []byte, path string, left *int) error {
	var seen map[protowire.Number]int
	for i := 0; i < len(b); {
		tag, at := uvarint(b, i)
		if at < 0 || tag>>3 > uint64(protowire.MaxValidNumber) {
			return errMalformed
		}
		num, typ := protowire.DecodeTag(tag)
		end := skip(b, at, tag)
		if end < 0 {
			return errMalformed
		}
		i = end
		bound, ok := f[num]
		if !ok {
			continue
		}
		var body []byte
		count := 1
		if typ == protowire.BytesType {
			start, stop := embedded(b, at)
			if body = b[start:stop]; bound.Scalars {
				count = varints(body)
			}
		}
		if bound.Elements > 0 {
			if seen == nil {
				seen = make(map[protowire.Number]int)
			}
			seen[num] += count
			if seen[num] > bound.Elements {
				return fmt.Errorf("%w: %s.%s has more than %d elements, the limit", ErrBound, path, bound.Name, bound.Elements)
			}
			if *left -= count; *left < 0 {
				return fmt.Errorf("%w: at %s.%s the message has more than %d elements in all, the limit: send several", ErrBound, path, bound.Name, MaxElements)
			}
		}
		if bound.Bytes > 0 && len(body) > bound.Bytes {
			return fmt.Errorf("%w: %s.%s has %d bytes, at most %d are taken", ErrBound, path, bound.Name, len(body), bound.Bytes)
		}
		if bound.Fields != nil {
			if err := bound.Fields.check(body, bound.Name, left); err != nil {
				return err
			}
		}
	}
	return nil
}

// varints counts the numbers of a packed field.
func varints(b []byte) (n int) {
	for _, c := range b {
		if c < 0x80 {
			n++
		}
	}
	return n
}
