package login

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// maxToken bounds a token: Kafka takes requests of authentication up to 512 KiB
// (sasl.server.max.receive.size).
const maxToken = 256 << 10

var (
	errNoToken  = errors.New("it is empty")
	errNotToken = errors.New("it has characters that no token has (RFC 6750)")
)

// checkToken refuses what would break the message that carries it.
func checkToken(token string) error {
	switch {
	case token == "":
		return errNoToken
	case len(token) > maxToken:
		return fmt.Errorf("it has more than %d bytes", maxToken)
	}
	for _, r := range strings.TrimRight(token, "=") {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("-._~+/", r):
		default:
			return errNotToken
		}
	}
	return nil
}

// ends is when a JWT says that it ends; zero for another token, and one that does not say.
func ends(token string) time.Time {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	body, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return time.Time{}
	}
	var claims struct {
		Exp float64 `json:"exp"`
	}
	if json.Unmarshal(body, &claims) != nil || !(claims.Exp > 0 && claims.Exp < math.MaxInt32*100) {
		return time.Time{}
	}
	seconds, fraction := math.Modf(claims.Exp)
	return time.Unix(int64(seconds), int64(fraction*1e9))
}

// leased is a token with its end, where it is fit to be used.
func leased(token string, otherwise time.Time) (lease[string], error) {
	if err := checkToken(token); err != nil {
		return lease[string]{}, err
	}
	until := ends(token)
	if until.IsZero() {
		until = otherwise
	}
	if now := time.Now(); !until.IsZero() && !now.Before(until) {
		return lease[string]{}, fmt.Errorf("it expired %s ago, at %s; compare the clocks", now.Sub(until).Round(time.Second), until.UTC().Format(time.RFC3339))
	}
	return lease[string]{token, until}, nil
}
