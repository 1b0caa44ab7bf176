package broker_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"

	"sluice/pkg/broker"
	"sluice/pkg/fault"
)

// What cannot work is refused before anything connects, and no refusal quotes
// what a file or a URL holds.
func TestLoginsAreChecked(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		t.Helper()
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	seed := func(make func() (nkeys.KeyPair, error)) string {
		t.Helper()
		k, err := make()
		if err != nil {
			t.Fatal(err)
		}
		s, err := k.Seed()
		if err != nil {
			t.Fatal(err)
		}
		return string(s)
	}
	const url = "nats://127.0.0.1:1"
	good := file("user.nk", "# of the parser\n"+seed(nkeys.CreateUser)+"\n")
	account := seed(nkeys.CreateAccount)
	for name, c := range map[string]struct {
		cfg  broker.Config
		want string // in the error; "" is none
	}{
		"a seed":               {broker.Config{URL: url, Login: broker.Login{NKey: good, InboxPrefix: "_INBOX_parser"}}, ""},
		"no address":           {broker.Config{}, "address"},
		"a broken address":     {broker.Config{URL: "nats://me:s3cret%zz@host"}, "not the address"},
		"no such seed":         {broker.Config{URL: url, Login: broker.Login{NKey: filepath.Join(dir, "none")}}, "--nats-nkey"},
		"a seed of an account": {broker.Config{URL: url, Login: broker.Login{NKey: file("account.nk", account)}}, "no seed of a user"},
		"a damaged seed":       {broker.Config{URL: url, Login: broker.Login{NKey: file("bad.nk", "SUs3cret")}}, "no seed of a user"},
		"two logins":           {broker.Config{URL: url, Login: broker.Login{NKey: good, Creds: good}}, "--nats-creds and --nats-nkey"},
		"no such credentials":  {broker.Config{URL: url, Login: broker.Login{Creds: filepath.Join(dir, "none")}}, "--nats-creds"},
		"no authority":         {broker.Config{URL: url, Login: broker.Login{CA: file("ca.pem", "s3cret")}}, "--nats-ca"},
		"half a certificate":   {broker.Config{URL: url, Login: broker.Login{Cert: good}}, "both --nats-cert and --nats-key"},
		"no certificate":       {broker.Config{URL: url, Login: broker.Login{Cert: file("c", "s3cret"), Key: file("k", "s3cret")}}, "--nats-cert"},
		"a wild inbox":         {broker.Config{URL: url, Login: broker.Login{InboxPrefix: "_INBOX.>"}}, "--nats-inbox-prefix"},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.cfg.Check()
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var f *fault.Error
			if !errors.As(err, &f) || f.Class != fault.Halt || f.Hint == "" || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v, want a halt about %s with a hint", err, c.want)
			}
			if text := err.Error() + f.Hint; strings.Contains(text, "s3cret") || strings.Contains(text, account[2:]) {
				t.Errorf("the refusal tells a secret: %s", text)
			}
			if _, err := broker.Connect(t.Context(), c.cfg, "test"); err == nil || err.Error() != f.Error() {
				t.Errorf("connecting ends with %v, want the same refusal", err)
			}
		})
	}
}

func TestRedacted(t *testing.T) {
	c := broker.Config{URL: "nats://user:s3cret@a:4222, nats://t0ken@b:4222,nats://c:4222,nats://x:s3cret%zz@d"}
	if got, want := c.Redacted(), "nats://xxxxx@a:4222,nats://xxxxx@b:4222,nats://c:4222,xxxxx"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
