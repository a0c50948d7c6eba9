package cli

import (
	"bytes"
	"encoding/json"
	"math"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// fill sets every field, numbers to their largest.
func fill(m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if f.IsMap() {
			panic(f.FullName() + ": a map, which printJSON does not know")
		}
		if f.IsList() {
			list := m.Mutable(f).List()
			for range 2 {
				if f.Kind() == protoreflect.MessageKind {
					fill(list.AppendMutable().Message())
				} else {
					list.Append(largest(f))
				}
			}
			continue
		}
		if f.Kind() == protoreflect.MessageKind {
			fill(m.Mutable(f).Message())
			continue
		}
		m.Set(f, largest(f))
	}
}

func largest(f protoreflect.FieldDescriptor) protoreflect.Value {
	return map[protoreflect.Kind]protoreflect.Value{
		protoreflect.Int64Kind: protoreflect.ValueOfInt64(math.MinInt64), protoreflect.Uint64Kind: protoreflect.ValueOfUint64(math.MaxUint64),
		protoreflect.Int32Kind: protoreflect.ValueOfInt32(math.MinInt32), protoreflect.Uint32Kind: protoreflect.ValueOfUint32(math.MaxUint32),
		protoreflect.Sint64Kind: protoreflect.ValueOfInt64(math.MinInt64), protoreflect.Sint32Kind: protoreflect.ValueOfInt32(math.MinInt32),
		protoreflect.BoolKind: protoreflect.ValueOfBool(true), protoreflect.StringKind: protoreflect.ValueOfString("<\"ä\n"),
		protoreflect.BytesKind: protoreflect.ValueOfBytes([]byte{0, 255}), protoreflect.EnumKind: protoreflect.ValueOfEnum(1),
	}[f.Kind()]
}

// A number is printed as one, exactly; and nothing is lost against protojson, which reads both
// shapes.
func TestStatusNumbersAreNumbers(t *testing.T) {
	full := new(sidecarpb.StatusResponse)
	fill(full.ProtoReflect())
	for _, want := range []*sidecarpb.StatusResponse{full, {}} {
		var text bytes.Buffer
		if err := printJSON(&text, want.ProtoReflect()); err != nil {
			t.Fatal(err)
		}
		got := new(sidecarpb.StatusResponse)
		if err := protojson.Unmarshal(text.Bytes(), got); err != nil || !proto.Equal(got, want) {
			t.Errorf("reads back as %v (%v), from\n%s", got, err, &text)
		}
		var doc map[string]any
		if err := json.Unmarshal(text.Bytes(), &doc); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"uptime_ms", "records_acked", "produce_requests"} {
			if _, isNumber := doc[name].(float64); !isNumber {
				t.Errorf("%s is %#v", name, doc[name])
			}
		}
	}
}
