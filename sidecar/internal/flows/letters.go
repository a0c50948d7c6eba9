package flows

import "github.com/twmb/franz-go/pkg/kgo"

// Headers of a dead letter, as package pipeline writes them behind the input's own. A test compares
// them.
const (
	letterError = "ackmark.dlq.error"
	letterCode  = "ackmark.dlq.code"
	// rejected is the error of a letter that no error of Kafka made one: a handler rejected its
	// input, or failed too often. The text of its error is not a label: there is no end of texts.
	rejected = "REJECTED"
)

// letter counts the record if its headers say that it is a dead letter.
func (f *Flow) letter(headers []kgo.RecordHeader) {
	is, code := false, ""
	for i := range headers {
		switch h := &headers[i]; h.Key {
		case letterError:
			is, code = true, ""
		case letterCode:
			code = string(h.Value)
		}
	}
	if !is {
		return
	}
	if code == "" {
		code = rejected
	}
	f.Letters.Add(codeOnly(code), 1)
}

// codeOnly keeps what has the form of a code: the header is a peer's.
func codeOnly(s string) string {
	if len(s) > 64 {
		return other
	}
	for _, c := range []byte(s) {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' {
			return other
		}
	}
	return s
}
