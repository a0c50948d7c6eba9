package producer_test

import (
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// wireFields calls fn for every field of a message as it stands on the wire.
func wireFields(b []byte, fn func(num protowire.Number, value []byte, n uint64)) {
	for len(b) > 0 {
		num, typ, k := protowire.ConsumeTag(b)
		b = b[k:]
		if typ == protowire.BytesType {
			v, k := protowire.ConsumeBytes(b)
			fn(num, v, 0)
			b = b[k:]
			continue
		}
		v, k := protowire.ConsumeVarint(b)
		fn(num, nil, v)
		b = b[k:]
	}
}

func marshal(m proto.Message) []byte {
	b, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	return b
}

// unreportedOf returns Hello.unreported.
func unreportedOf(h *sidecarpb.Hello) (list []wire.Range) {
	wireFields(marshal(h), func(num protowire.Number, value []byte, _ uint64) {
		if num != 8 {
			return
		}
		var r wire.Range
		wireFields(value, func(num protowire.Number, _ []byte, n uint64) {
			if num == 1 {
				r.First = n
			} else {
				r.Count = n
			}
		})
		list = append(list, r)
	})
	return list
}

// previousOf returns Hello.previous_sidecar_id.
func previousOf(h *sidecarpb.Hello) (id string) {
	wireFields(marshal(h), func(num protowire.Number, value []byte, _ uint64) {
		if num == 9 {
			id = string(value)
		}
	})
	return id
}

// doneSetOf returns AssignedPartition.done_set.
func doneSetOf(p *sidecarpb.AssignedPartition) (set string) {
	wireFields(marshal(p), func(num protowire.Number, value []byte, _ uint64) {
		if num == 7 {
			set = string(value)
		}
	})
	return set
}
