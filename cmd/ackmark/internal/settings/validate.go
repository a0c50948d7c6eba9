package settings

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ackmark/ackmark/internal/hostport"
)

// validate checks what several fields decide together.
func (e *Effective) validate() {
	e.validateKafka()
	e.validateBrokers()
	e.validateListener()
	e.validateTransactions()
}

func (e *Effective) validateKafka() {
	client, wrong := ParseKafka(e.Kafka, func(name string) FieldError { return e.written(kafkaPrefix + name) })
	for _, err := range wrong {
		if f, ok := errors.AsType[*FieldError](err); !ok || !e.saidAlready(f.Field) {
			e.wrong = append(e.wrong, err)
		}
	}
	e.Client = *client
	_, given := e.from["limits/record_bytes"]
	if client.RecordBytes == 0 {
		if _, lowered := e.from["limits/message_bytes"]; lowered && !given { // the default follows it
			e.Limits.RecordBytes = max(512, e.Limits.MessageBytes-64<<10)
		}
		return
	}
	if given && e.Limits.RecordBytes != client.RecordBytes {
		e.fail("limits/record_bytes", "and the Kafka property message.max.bytes (max.request.size) are the same and differ; set one of them")
		return
	}
	e.Limits.RecordBytes = client.RecordBytes
}

// saidAlready tells whether an error about this name, as it was written, is there.
func (e *Effective) saidAlready(field string) bool {
	return slices.ContainsFunc(e.wrong, func(err error) bool {
		f, ok := errors.AsType[*FieldError](err)
		return ok && f.Field == field
	})
}

func (e *Effective) validateBrokers() {
	bootstrap := Bootstrap(e.Kafka)
	switch {
	case len(e.Brokers) > 0 && len(bootstrap) > 0 && !slices.Equal(e.Brokers, bootstrap):
		e.fail("brokers", fmt.Sprintf("is %s and the Kafka property bootstrap.servers is %s; set one of them", strings.Join(e.Brokers, ","), strings.Join(bootstrap, ",")))
	case len(e.Brokers) == 0 && len(bootstrap) > 0:
		e.Brokers = bootstrap
		e.from["brokers"] = e.from[kafkaPrefix+"bootstrap.servers"]
	}
	if len(e.Brokers) == 0 {
		e.fail("brokers", "is missing; set --brokers host:9092, ACKMARK_BROKERS, or brokers in the file")
	}
	for _, b := range e.Brokers {
		if strings.Contains(b, "://") {
			e.fail("brokers", fmt.Sprintf("has %q; write host:port without a scheme (TLS and SASL: kafka.security.protocol)", withoutUser(b)))
		}
	}
	if b, bad := hostport.FirstBad(e.Brokers); bad {
		e.fail("brokers", fmt.Sprintf("has %q; %s", b, hostport.Remedy))
	}
}

// withoutUser is an address without the user and password that a URL may have.
func withoutUser(address string) string {
	scheme, rest, _ := strings.Cut(address, "://")
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		rest = "…" + rest[at:]
	}
	return scheme + "://" + rest
}

func (e *Effective) validateListener() {
	files := []string{e.TLS.Certificate, e.TLS.Key, e.TLS.ClientCA}
	told := e.bad["tls/certificate"] || e.bad["tls/key"] || e.bad["tls/client_ca"] // then it is not missing but wrong
	missing := slices.Contains(files, "") && !told
	if strings.HasPrefix(e.Listen, "tcp://") && missing {
		e.fail("listen", fmt.Sprintf("is %s; TCP needs mutual TLS: set tls.certificate, tls.key and tls.client_ca, or listen on unix:///path", e.Listen))
	}
	if strings.HasPrefix(e.Listen, "unix://") && (TLS{}) != e.TLS {
		e.fail("tls", "is set, but listen is "+e.Listen+"; remove tls.*, or listen on tcp://host:port")
	}
	seen := map[string]bool{}
	for _, app := range e.Apps {
		if app.Name != "" && seen[app.Name] {
			e.fail("apps", fmt.Sprintf("has %q twice; write one entry with all its topics", app.Name))
		}
		seen[app.Name] = true
	}
}
