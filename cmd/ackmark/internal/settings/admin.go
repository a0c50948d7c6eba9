package settings

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// Admin is the port at which one looks at the sidecar.
type Admin struct {
	Address    string // host:port; empty: none
	Hosts      []string
	StallAfter time.Duration
	Profiles   bool
	PerTopic   bool // metrics
}

// noAdmin is how no admin port is written.
const noAdmin = "off"

// adminFields are off by default: a port of loopback is open to every user and container of the
// pod, where the socket is not; and a second sidecar on one host could not have it.
var adminFields = []Field{
	{
		Key: "admin", Default: noAdmin,
		Usage: "address of the admin port (/metrics, /healthz, /readyz, /api/status and the page): host:port, or a port of loopback; 0.0.0.0:9404 for kubelet and Prometheus; off",
		set:   func(s *Sidecar, v any) (err error) { s.Admin.Address, err = asAdmin(v); return err },
		show: func(s *Sidecar) any {
			if s.Admin.Address == "" {
				return noAdmin
			}
			return s.Admin.Address
		},
	},
	{
		Key: "admin_hosts", Usage: "names by which the admin port may be called, beside localhost and its address: those of a Service or an Ingress; comma separated",
		set:  func(s *Sidecar, v any) (err error) { s.Admin.Hosts, err = asHosts(v); return err },
		show: func(s *Sidecar) any { return append([]string{}, s.Admin.Hosts...) },
	},
	{
		Key: "admin_stall_after", Default: "5m", Usage: "how long a partition with input may stand still before /readyz says that it does",
		set: duration(func(s *Sidecar) *time.Duration { return &s.Admin.StallAfter }), show: func(s *Sidecar) any { return s.Admin.StallAfter.String() },
	},
	{
		Key: "admin_profiles", Default: "false", Usage: "profiles of the process under /debug/pprof/ of the admin port: true or false",
		set: func(s *Sidecar, v any) (err error) { s.Admin.Profiles, err = asBool(v); return err }, show: func(s *Sidecar) any { return s.Admin.Profiles },
	},
	{
		Key: "metrics_per_topic", Default: "false", Usage: "metrics tell no partitions apart, only topics: true where thousands of partitions would be too many series, or false",
		set: func(s *Sidecar, v any) (err error) { s.Admin.PerTopic, err = asBool(v); return err }, show: func(s *Sidecar) any { return s.Admin.PerTopic },
	},
}

// asAdmin reads host:port. A port alone is one of loopback: who wants others to connect says so.
func asAdmin(v any) (string, error) {
	wrong := fmt.Errorf("is %s; write host:port as in 127.0.0.1:9404, 0.0.0.0:9404 for callers from outside, or off", shown(v))
	var text string
	switch v := v.(type) {
	case string:
		text = v
	case int: // 9404 in a file
		text = strconv.Itoa(v)
	case bool: // off in a file
		if v {
			return "", wrong
		}
		return "", nil
	default:
		return "", wrong
	}
	if text == noAdmin {
		return "", nil
	}
	if !strings.Contains(text, ":") {
		text = ":" + text
	}
	host, port, err := net.SplitHostPort(text)
	n, bad := strconv.ParseUint(port, 10, 16)
	if err != nil || bad != nil || strings.ContainsAny(host, "/ ,") {
		return "", wrong
	}
	if host == "" {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, strconv.FormatUint(n, 10)), nil
}

// asHosts reads names as they stand in a Host header, without a port.
func asHosts(v any) ([]string, error) {
	list, err := asList(v)
	if err != nil {
		return nil, err
	}
	for _, host := range list {
		if strings.ContainsAny(host, ":/* \t") {
			return nil, fmt.Errorf("has the entry %q; write names alone, without scheme, port and path, as in ops.example.com", host)
		}
	}
	return list, nil
}

func asBool(v any) (bool, error) {
	if b, ok := v.(bool); ok {
		return b, nil
	}
	switch v {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fmt.Errorf("is %s; write true or false", shown(v))
}
