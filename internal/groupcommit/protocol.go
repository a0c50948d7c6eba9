package groupcommit

import (
	"fmt"
	"strconv"
	"strings"
)

// Protocol is how members take part in a group: Kafka's group.protocol. The zero Protocol means
// Classic.
type Protocol uint8

const (
	// Classic: members join and synchronize, and one of them assigns.
	Classic Protocol = 1 + iota
	// Consumer is that of KIP-848: members heartbeat, and the brokers assign. Where a membership
	// has a generation, theirs is the member's epoch.
	Consumer
	// Auto leaves the choice to what the brokers and the group can do. No membership has it.
	Auto
)

var protocolNames = [...]string{"default", "classic", "consumer", "auto"}

func (p Protocol) String() string {
	if int(p) < len(protocolNames) {
		return protocolNames[p]
	}
	return "Protocol(" + strconv.Itoa(int(p)) + ")"
}

// MarshalText implements encoding.TextMarshaler.
func (p Protocol) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler: "" is the default.
func (p *Protocol) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*p = 0
		return nil
	}
	for i, name := range protocolNames[1:] {
		if strings.EqualFold(name, string(text)) {
			*p = Protocol(i + 1)
			return nil
		}
	}
	return fmt.Errorf("group protocol %q: use classic, consumer or auto", text)
}
