// Package wire is the Go side of the sidecar's protocol where speed matters: the messages that
// carry units and reports, encoded and decoded without an allocation or a copy per record. The
// bytes are those of the published protobuf (package sidecarpb): every other language, and the
// generated Go code, reads and writes the same.
//
// # Up: units
//
//	start := len(arena)
//	arena = wire.OpenUnit(arena, src)
//	arena = wire.AppendOutput(arena, &out)       // for each output
//	arena = wire.CloseUnit(arena, start)         // arena[start:] is now one unit; keep the range for a resend
//	…
//	head = wire.AppendUnitsHeader(head[:0], &h, len(units))
//	stream.SendMsg(&wire.Raw{Buffers: mem.BufferSlice{head, units}})
//
// and on the other side [Message.Request], [Units.Parse], [Units.Next], [Unit.Next]. Keys, values
// and headers alias the received buffer: they are valid until [Message.Free].
//
// # Down: reports
//
// [AppendReports], [Message.Response], [DecodeReports].
//
// Both ends set [Codec] (grpc.ForceServerCodecV2, grpc.ForceCodecV2); it passes [Raw] and [Message]
// through and gives everything else to protobuf.
package wire
