package cli

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/letters"
)

// printJSON prints a message by the names of the contract, every field, in its order. Numbers are
// numbers: protojson makes texts of those with 64 bits, because JavaScript would round them, and jq
// then compares "9" > "10".
func printJSON(w io.Writer, m protoreflect.Message) error {
	var text, pretty bytes.Buffer
	if err := writeMessage(&text, m); err != nil {
		return err
	}
	if err := json.Indent(&pretty, text.Bytes(), "", "  "); err != nil {
		return err
	}
	pretty.WriteByte('\n')
	_, err := w.Write(letters.PrintableJSON(pretty.Bytes()))
	return err
}

func writeMessage(b *bytes.Buffer, m protoreflect.Message) error {
	b.WriteByte('{')
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"` + f.TextName() + `":`)
		if err := writeField(b, f, m.Has(f), m.Get(f)); err != nil {
			return err
		}
	}
	b.WriteByte('}')
	return nil
}

func writeField(b *bytes.Buffer, f protoreflect.FieldDescriptor, set bool, v protoreflect.Value) error {
	switch {
	case f.IsList():
		b.WriteByte('[')
		for i := range v.List().Len() {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := writeValue(b, f, v.List().Get(i)); err != nil {
				return err
			}
		}
		b.WriteByte(']')
		return nil
	case f.HasPresence() && !set:
		b.WriteString("null")
		return nil
	}
	return writeValue(b, f, v)
}

func writeValue(b *bytes.Buffer, f protoreflect.FieldDescriptor, v protoreflect.Value) error {
	var plain any
	switch f.Kind() {
	case protoreflect.MessageKind:
		return writeMessage(b, v.Message())
	case protoreflect.EnumKind:
		plain = int32(v.Enum())
		if name := f.Enum().Values().ByNumber(v.Enum()); name != nil {
			plain = string(name.Name())
		}
	case protoreflect.BytesKind:
		plain = base64.StdEncoding.EncodeToString(v.Bytes())
	default:
		plain = v.Interface() // bool, numbers and texts
	}
	text, err := json.Marshal(plain)
	b.Write(text)
	return err
}
