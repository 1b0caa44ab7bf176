package broker_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"sluice/pkg/broker"
	"sluice/pkg/fault"
	"sluice/pkg/natstest"
)

// TLS, with and without certificates of clients: who has what the server wants is
// let in, and everybody else is told what to set.
func TestTLS(t *testing.T) {
	s, stranger := natstest.Secure(t), natstest.Secure(t)
	with := func(ca, cert, key string) func(user string) broker.Login {
		return func(user string) broker.Login {
			l := s.Login(user)
			l.CA, l.Cert, l.Key = ca, cert, key
			return l
		}
	}
	plain := s.Start(t, s.TLS(false), with(s.CA, "", ""))
	mutual := s.Start(t, s.TLS(true), with(s.CA, s.Client, s.Secret))
	for name, c := range map[string]struct {
		url   string
		login broker.Login
		want  string // the reason of a Halt, "" is none
		hint  string
	}{
		"the authority is known":             {plain, with(s.CA, "", "")(broker.UserOperator), "", ""},
		"a certificate nobody asked for":     {plain, with(s.CA, s.Client, s.Secret)(broker.UserOperator), "", ""},
		"no authority":                       {plain, with("", "", "")(broker.UserOperator), "nats-tls", "--nats-ca"},
		"another authority":                  {plain, with(stranger.CA, "", "")(broker.UserOperator), "nats-tls", "--nats-ca"},
		"a client's certificate":             {mutual, with(s.CA, s.Client, s.Secret)(broker.UserOperator), "", ""},
		"no client's certificate":            {mutual, with(s.CA, "", "")(broker.UserOperator), "nats-tls", "--nats-cert"},
		"a certificate of another authority": {mutual, with(s.CA, stranger.Client, stranger.Secret)(broker.UserOperator), "nats-tls", "--nats-cert"},
		"the seed of another installation":   {plain, broker.Login{NKey: stranger.Login(broker.UserOperator).NKey, CA: s.CA}, "nats-auth", "--nats-nkey"},
		"no seed at all":                     {plain, broker.Login{CA: s.CA}, "nats-auth", "--nats-nkey"},
		"a certificate in place of a seed":   {mutual, broker.Login{CA: s.CA, Cert: s.Client, Key: s.Secret}, "nats-auth", "--nats-nkey"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			nc, err := broker.Connect(ctx, broker.Config{URL: c.url, Login: c.login}, t.Name())
			if err == nil {
				nc.Close()
			}
			f := fault.From(err)
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (f == nil || f.Class != fault.Halt || f.Reason != c.want || !strings.Contains(f.Hint, c.hint)):
				t.Errorf("%v (%+v), want a halt for %s that names %s", err, f, c.want, c.hint)
			}
		})
	}
}
