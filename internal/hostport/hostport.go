// Package hostport checks the addresses of brokers before a client does: the client's error does
// not say which address it means.
package hostport

import (
	"net"
	"strconv"
	"strings"
)

// Remedy is what to do about an address that is wrong.
const Remedy = "write each broker as host:port, without a scheme, with a number as its port"

// FirstBad returns the first address that no client can dial: empty, with a scheme, a list in one
// string, without a host, or with a port that is none. An address without a port is right: it means
// 9092.
func FirstBad(addrs []string) (addr string, bad bool) {
	for _, a := range addrs {
		if !good(a) {
			return a, true
		}
	}
	return "", false
}

func good(addr string) bool {
	if addr == "" || strings.ContainsAny(addr, " \t\r\n,;/\\") {
		return false
	}
	if host, ok := strings.CutPrefix(addr, "["); ok && strings.HasSuffix(host, "]") {
		return net.ParseIP(strings.TrimSuffix(host, "]")) != nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return !strings.Contains(addr, ":") || net.ParseIP(addr) != nil // no port
	}
	n, err := strconv.Atoi(port)
	return host != "" && err == nil && 0 <= n && n <= 65535
}
