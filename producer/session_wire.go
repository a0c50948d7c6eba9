package producer

import (
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
	"google.golang.org/protobuf/encoding/protowire"
)

// The fields below go out by their numbers: what the contract gained since this client's generated code was made.

// setResume sets Hello.unreported (8) and Hello.previous_sidecar_id (9).
func setResume(h *sidecarpb.Hello, previous string, list []wire.Range) {
	var b []byte
	for _, r := range list {
		var m []byte
		m = protowire.AppendVarint(protowire.AppendTag(m, 1, protowire.VarintType), r.First)
		m = protowire.AppendVarint(protowire.AppendTag(m, 2, protowire.VarintType), r.Count)
		b = protowire.AppendBytes(protowire.AppendTag(b, 8, protowire.BytesType), m)
	}
	b = protowire.AppendString(protowire.AppendTag(b, 9, protowire.BytesType), previous)
	h.ProtoReflect().SetUnknown(b)
}

// setDoneSet sets AssignedPartition.done_set (7).
func setDoneSet(p *sidecarpb.AssignedPartition, set string) {
	if set != "" {
		p.ProtoReflect().SetUnknown(protowire.AppendString(protowire.AppendTag(nil, 7, protowire.BytesType), set))
	}
}
