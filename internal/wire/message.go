package wire

import (
	"fmt"
	"slices"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// Field numbers and tags of the messages that are decoded here (sidecar.proto).
const (
	tagRequestUnits    = 3<<3 | 2 // DeliveryStreamRequest.units
	tagRequestState    = 7<<3 | 2 // DeliveryStreamRequest.state
	tagResponseReports = 2<<3 | 2 // DeliveryStreamResponse.reports
)

// discard drops unknown fields, so that what is marshalled again is canonical.
var discard = proto.UnmarshalOptions{DiscardUnknown: true}

// Request decodes a message that goes up. Units come back as their encoded body, for [Units.Parse],
// with hot true; every other kind is decoded into cold (not nil), within the bounds of the contract
// ([Bounds]).
func (m *Message) Request(cold *sidecarpb.DeliveryStreamRequest) (units []byte, hot bool, err error) {
	if body, ok := single(m.Bytes(), tagRequestUnits); ok {
		return body, true, nil
	}
	body, pieces, err := looseUnits(m.Bytes())
	if pieces > 1 { // they do not alias the buffer, which nobody needs then
		m.Free()
		m.buf = mem.SliceBuffer(body)
	}
	if err != nil || pieces > 0 {
		return body, pieces > 0, err
	}
	if n := len(m.Bytes()); n > MaxColdBytes {
		return nil, false, fmt.Errorf("%w: a message without units of %d bytes, at most %d are taken", ErrBound, n, MaxColdBytes)
	}
	return nil, false, Decode(m.Bytes(), cold)
}

// TellsState tells a message of nothing but a ProcessState, before it is decoded.
func (m *Message) TellsState() bool {
	b := m.Bytes()
	if len(b) == 0 || b[0] != tagRequestState {
		return false
	}
	_, ok := single(b, tagRequestState)
	return ok
}

// looseUnits finds the units of a message that is no single field: beside unknown fields, in
// pieces, or behind another kind, of which protobuf takes the last one. Pieces of one embedded
// message are as good as one behind the other. Units decoded by the generated code would take a
// hundred times their encoded size, for which nobody has credit.
func looseUnits(b []byte) (body []byte, pieces int, err error) {
	for i := 0; i < len(b); {
		tag, at := uvarint(b, i)
		if at < 0 {
			return nil, 0, errMalformed
		}
		if i = skip(b, at, tag); i < 0 {
			return nil, 0, errMalformed
		}
		switch start, end := embedded(b, at); {
		case tag == tagRequestUnits:
			switch pieces++; pieces {
			case 1:
				body = b[start:end:end]
			case 2: // a copy, even if this piece is empty: the buffer is given back
				body = slices.Concat(body, b[start:end])
			default:
				body = append(body, b[start:end]...)
			}
		case tag&7 == 2 && tag>>3 <= lastKind && tag>>3 > 0:
			body, pieces = nil, 0
		}
	}
	return body, pieces, nil
}

// lastKind is the highest field number among the kinds of a DeliveryStreamRequest.
const lastKind = 9

// Response decodes a message that comes down. Reports come back as their encoded body, for
// [DecodeReports], with hot true; every other kind is decoded into cold (not nil).
func (m *Message) Response(cold *sidecarpb.DeliveryStreamResponse) (reports []byte, hot bool, err error) {
	if body, ok := single(m.Bytes(), tagResponseReports); ok {
		return body, true, nil
	}
	if err := discard.Unmarshal(m.Bytes(), cold); err != nil {
		return nil, false, fmt.Errorf("wire: not a DeliveryStreamResponse: %w", err)
	}
	if r := cold.GetReports(); r != nil {
		return canonical(r)
	}
	return nil, false, nil
}

// single returns the body of a message that consists of nothing but one embedded message with this
// tag. That is what every encoder writes; a oneof that is set twice, or stands beside unknown
// fields, is legal protobuf too and takes the slow way.
func single(b []byte, tag byte) ([]byte, bool) {
	if len(b) < 2 || b[0] != tag {
		return nil, false
	}
	n, i := uvarint(b, 1)
	if i < 0 || n != uint64(len(b)-i) {
		return nil, false
	}
	return b[i:], true
}

// canonical encodes a hot message that came in an unusual shape. It does not alias the receive
// buffer.
func canonical(msg proto.Message) ([]byte, bool, error) {
	body, err := proto.MarshalOptions{}.MarshalAppend([]byte{}, msg)
	if err != nil {
		return nil, false, fmt.Errorf("wire: %w", err)
	}
	return body, true, nil
}
